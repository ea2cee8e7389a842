"""Datasets: clean pictures by name."""

from __future__ import annotations

from esbench.hookspecs import hookimpl
from esbench.records import DatasetInfo

BERKELEY = "non-commercial research and education"


@hookimpl
def esbench_datasets() -> list[DatasetInfo]:
    """`samples`, which is always available, and the public datasets: in ESBENCH_DATA, in the cache, or fetched."""
    named = "esbench.builtin.datasets.named"
    return [
        DatasetInfo(
            name="samples",
            summary="a small photograph, for a first look",
            target="esbench.builtin.datasets.samples:Samples",
            reference="Grace Hopper, 1984, U.S. Navy photograph by James S. Davis, as it comes with matplotlib",
            images=1,
            megabytes=0.1,
            licence="public domain",
        ),
        DatasetInfo(
            name="kodak24",
            summary="the Kodak Lossless True Color Image Suite, 768 x 512",
            target=f"{named}:kodak24",
            reference="https://r0k.us/graphics/kodak/",
            images=24,
            megabytes=15.4,
            licence="released by Kodak for unrestricted use, according to the maintainer of the page",
        ),
        DatasetInfo(
            name="cbsd68",
            summary="the 68 Berkeley pictures of Roth and Black in colour, 481 x 321",
            target=f"{named}:cbsd68",
            reference="Martin et al., A database of human segmented natural images, ICCV 2001",
            images=68,
            megabytes=5.1,
            licence=BERKELEY,
        ),
        DatasetInfo(
            name="bsd400",
            summary="the 400 train and test pictures of BSDS500, for fitting: disjoint from cbsd68",
            target=f"{named}:bsd400",
            reference="Arbelaez et al., Contour detection and hierarchical image segmentation, TPAMI 2011",
            images=400,
            megabytes=29.3,
            licence=BERKELEY,
        ),
        DatasetInfo(
            name="set9",
            summary="nine pictures common in denoising papers",
            target=f"{named}:set9",
            reference="the copy of Jo et al., Rethinking Deep Image Prior for Denoising, ICCV 2021",
            images=9,
            megabytes=4.5,
            licence="no clear licence; four of them are Kodak's",
        ),
        DatasetInfo(
            name="set5",
            summary="five pictures that super-resolution papers use",
            target=f"{named}:set5",
            reference="Bevilacqua et al., BMVC 2012; the copy of Huang et al., CVPR 2015",
            images=5,
            megabytes=0.9,
            licence="no licence text is known; research use is customary",
        ),
        DatasetInfo(
            name="set14",
            summary="fourteen pictures that super-resolution papers use, one of them grey",
            target=f"{named}:set14",
            reference="Zeyde et al., 2010; the copy of Huang et al., CVPR 2015",
            images=14,
            megabytes=5.0,
            licence="no licence text is known; research use is customary",
        ),
        DatasetInfo(
            name="set11",
            summary="eleven grey pictures with masks of half of their pixels",
            target=f"{named}:set11",
            reference="Papyan et al., 2017, and Deep Image Prior",
            images=11,
            megabytes=2.9,
            licence="no licence text is known; research use is customary",
        ),
        DatasetInfo(
            name="dip-inpaint",
            summary="the three pictures and masks of Deep Image Prior's inpainting",
            target=f"{named}:dip_inpaint",
            reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
            images=3,
            megabytes=1.2,
            licence="Apache-2.0",
        ),
        DatasetInfo(
            name="dip-flash",
            summary="Deep Image Prior's pair with and without flash",
            target=f"{named}:dip_flash",
            reference="Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018",
            images=1,
            megabytes=0.2,
            licence="Apache-2.0",
        ),
    ]
