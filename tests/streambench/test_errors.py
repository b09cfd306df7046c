from streambench.errors import ConfigurationError, ExitCode, MissingDependency, nearest


def test_an_error_points_at_the_place_and_offers_the_nearest_name() -> None:
    error = ConfigurationError("unknown metric 'ttcf'", path="s.yaml", line=3, column=7, suggestion="ttfc")
    assert str(error) == "s.yaml:3:7: unknown metric 'ttcf'. Did you mean 'ttfc'?"
    assert error.exit_code is ExitCode.USAGE


def test_a_missing_package_names_the_install_command() -> None:
    assert "pip install 'streambench[locust]'" in str(MissingDependency("The web UI", "locust"))


def test_the_worst_exit_code_wins_in_the_documented_order() -> None:
    codes = [ExitCode.PASSED, ExitCode.PERFORMANCE, ExitCode.CONFORMANCE, ExitCode.INVALID, ExitCode.UNREACHABLE]
    for length in range(1, len(codes) + 1):
        assert ExitCode.worst(codes[:length]) is codes[length - 1]
    assert ExitCode.worst([]) is ExitCode.PASSED


def test_nearest_keeps_quiet_when_nothing_is_close() -> None:
    assert nearest("ttcf", ["ttfc", "gap"]) == "ttfc"
    assert nearest("zebra", ["ttfc", "gap"]) is None
