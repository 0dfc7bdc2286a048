"""What both judges have in common: checks that are told one by one, and refusals of the right kind."""

FAILED = []


def check(name, test):
    try:
        test()
        print(f"ok {name}", flush=True)
    except Exception as error:  # a failure of any kind is this check's alone
        FAILED.append(name)
        print(f"FAILED {name}: {type(error).__name__}: {' '.join(str(error).split())[:500]}", flush=True)


def refused(kind, call, *texts):
    try:
        call()
    except kind as error:
        missing = [text for text in texts if text not in f"{getattr(error, 'status_code', '')} {error}"]
        assert not missing, f"{missing} not in {error}"
        return
    raise AssertionError(f"no {kind.__name__}")


def same(got, wanted):
    assert got == wanted, f"{got!r}, not {wanted!r}"
