from esbench import CriterionInfo, hookimpl


@hookimpl
def esbench_criteria():
    return [
        CriterionInfo(
            name=name,
            summary="needs a package that is not installed",
            target="esbench_missing_requirement:never",
            requires=("json", requirement),
        )
        for name, requirement in [
            ("needs-package", "a_package_that_nobody_has"),
            ("needs-module", "a_package_that_nobody_has.metrics"),
            ("needs-version", "a_package_that_nobody_has>=1.0"),
        ]
    ]


def never(frame):
    raise AssertionError
