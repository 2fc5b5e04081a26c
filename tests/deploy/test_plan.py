"""`python -m modal_deploy`: the plan's figures and formulas, the files of secrets."""

import json
import math
import random
import stat
from pathlib import Path

import pytest

from cli import run_commands
from errors import SettingsError
from modal_deploy.__main__ import app
from modal_deploy.config import Config
from modal_deploy.costs import Use, engine_usd_per_s, isolated_usd, month
from modal_deploy.secrets_files import write_secrets
from settings import Settings
from tests.deploy.conftest import ROOT


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_commands(app, arguments=arguments)
    return int(ended.value.code or 0)


def test_an_hour_and_a_question(config: Config) -> None:
    assert engine_usd_per_s(config) * 3600 == pytest.approx(1.482, abs=0.001)
    assert isolated_usd(config) == pytest.approx(0.077, abs=0.001)


def test_a_month_lies_between_all_alone_and_all_hours(config: Config) -> None:
    few = month(config, Use(1, 1, 80))
    assert few.usd == pytest.approx(isolated_usd(config), rel=0.02)
    assert few.starts == pytest.approx(1, rel=0.01)
    many = month(config, Use(1000, 40, 80))
    assert many.engine_hours == pytest.approx(80, rel=0.01)
    assert many.starts < 1
    assert not many.within


def test_the_busy_share_is_what_a_simulation_finds(config: Config) -> None:
    """Exponential gaps, one window each: the formula's hours and starts, within the noise of 20,000 questions."""
    dice, use = random.Random(5), Use(500, 40, 400.0)  # noqa: S311 - a simulation
    up_s = starts = clock = 0.0
    until = -1.0
    window = config.assumed.answer_s + config.engine.idle_s
    for _ in range(use.asked):
        clock += dice.expovariate(use.asked / (use.hours * 3600))
        if clock > until:
            starts += 1
            up_s += window
        else:
            up_s += clock + window - until
        until = clock + window
    found = month(config, use)
    assert found.starts == pytest.approx(starts, rel=0.05)
    warm_h = found.engine_hours - found.starts * config.assumed.cold_s / 3600
    assert warm_h == pytest.approx(up_s / 3600, rel=0.03)


def test_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--json", "--pupils", "42") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["deployed"]["app"] == "bergson-premium"
    assert "--max-model-len 8192" in said["deployed"]["command"]
    assert said["costs"][0]["value"] == "$1.48"
    own = next(one for one in said["months"] if one["use"]["pupils"] == 42)
    rate = 42 * 40 / (16 * 3600)
    assert own["starts"] == pytest.approx(42 * 40 * math.exp(-rate * 125))
    assert own["usd"] == pytest.approx(own["engine_usd"] + own["gateway_usd"])


def test_plan_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--pupils", "300", "--hours", "80") == 0
    said = capsys.readouterr()
    for part in ("A10", "$1.48", "3600 s x (0.000306 A10", "1 - exp(-r x 125 s)", "47", "within budget"):
        assert part in said.out, part
    assert "the budget ends at $30.00" in " ".join(said.err.split())


def test_a_wrong_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "premium.toml"
    wrong.write_text("app = 3", encoding="utf-8")
    assert run("plan", "--config", str(wrong)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("SettingsError: premium.toml: app:")
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(("given", "host"), [((), "my-school"), (("--suffix", "premium"), "my-school-premium")])
def test_secrets_are_files_that_only_their_owner_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], host: str
) -> None:
    out = tmp_path / "secrets"
    assert run("secrets", "my-school", "--out", str(out), *given) == 0
    said = capsys.readouterr()
    files = {path.name: dict(line.split("=", 1) for line in path.read_text().splitlines()) for path in out.iterdir()}
    assert files["gateway.env"]["BAF_PREMIUM_SECRET"] == files["page.env"]["BAF_PREMIUM_SECRET"]
    assert files["gateway.env"]["BAF_ENGINE_URL"] == f"https://{host}--bergson-premium-engine.us-east.modal.direct"
    assert files["page.env"]["BAF_PREMIUM_URL"] == f"https://{host}--bergson-premium-gateway.modal.run"
    assert files["page.env"]["BAF_GPU_USD_PER_HOUR"] == "1.48"
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for values in files.values():
        for key, value in values.items():
            assert key.removeprefix("BAF_").lower() in Settings.model_fields
            assert not ("KEY" in key or "SECRET" in key) or not value or value not in said.out + said.err
    assert "modal secret create bergson-premium-gateway --from-dotenv" in said.out


def test_secrets_in_use_are_kept(config: Config, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="may hold secrets in use"):
        write_secrets(config, "w", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_maintainer_s_page_says_the_same(config: Config) -> None:
    page = (ROOT / "docs/operations/deploy.md").read_text(encoding="utf-8")
    assert f"| ${engine_usd_per_s(config) * 3600:.2f} |" in page
    assert f"| ${isolated_usd(config):.3f} |" in page
    assert f"at {config.fit.ceiling:.0f} tokens/s" in page
    for name in ("weights", "ledger"):
        assert f"{config.app}-{name}" in page
