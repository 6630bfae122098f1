"""What the docs name is there."""

import re


def test_the_tests_of_the_trial_log_exist(repository):
    text = (repository / "docs/trial-log.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    written = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert not named - written
