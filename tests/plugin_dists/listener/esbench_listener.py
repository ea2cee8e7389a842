from esbench import hookimpl

heard = []


@hookimpl
def esbench_event(event):
    print("heard", event)
    heard.append(event)
    if len(heard) == 2:
        raise ValueError("enough")
