"""A verified folder goes to the Hub, private first. Knows the Hub's library and our report; converts nothing.

Nothing leaves the machine unless every gate passed and every file is the one that was verified. The upload can be
broken off anywhere: the same command goes on, the Hub's library sends only what is not there yet. The tag comes last,
after the Hub's own checksums were compared with ours: a tagged version is a whole one.
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.report import REPORT_FILE, VerifyReport, file_facts, read_report
from errors import ConversionError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

REPO = re.compile(r"[\w.-]+/[\w.-]+")
VERSION = re.compile(r"v\d+(\.\d+)*([.-]\w+)?")
# What may stand beside the verified files: papers and pictures, no weights.
SETTINGS = (".json", ".jinja", ".txt")
PAPERS = (".md", ".png", ".svg", ".yaml", *SETTINGS)
NAMED_PAPERS = ("Modelfile", "LICENSE", "NOTICE", ".gitattributes")
UNFINISHED = (".partial", ".lock", ".stamp")
AGAIN = "Run the same command again: it goes on where it stopped."
REFUSED = {
    401: "it does not know the token. Log in with `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there. Make one with write access to the repository",
    404: "there is no such repository for this token. Check the owner's name",
    409: "the name is taken by something else",
    413: "a file is larger than it takes",
}

Report = Callable[[str, float], None]


def check_repo(name: str) -> None:
    """Raise ConversionError unless `name` is "owner/name"."""
    if not REPO.fullmatch(name):
        raise ConversionError(f"The Hub repository is {name!r}; expected owner/name.")


@dataclass(frozen=True)
class Plan:
    """What would be published.

    Attributes:
        folder: The verified folder.
        repo: "owner/name".
        tag: The version.
        public: Whether the repository becomes public, once everything is there and right.
        sizes: Every file that is sent, relative to the folder, with its bytes.
    """

    folder: Path
    repo: str
    tag: str
    public: bool
    sizes: dict[str, int]

    def __post_init__(self) -> None:
        check_repo(self.repo)
        if not VERSION.fullmatch(self.tag):
            raise ConversionError(f"The version is {self.tag!r}; expected v1, v1.2 or v1.2.0-rc1.")


@dataclass(frozen=True)
class Published:
    """What is on the Hub now.

    Attributes:
        repo: "owner/name".
        tag: The version.
        commit: The commit that the tag names.
        n_files: How many files were compared with the Hub's checksums.
        private: Whether only the owner sees it.
        sent: False when this version was there already.
    """

    repo: str
    tag: str
    commit: str
    n_files: int
    private: bool
    sent: bool


def _is_paper(path: Path) -> bool:
    """Whether a file, by its path in the folder, is no part of a model; settings of one lie in a folder of it."""
    inside = path.suffix in SETTINGS and len(path.parts) > 1
    named = path.name in NAMED_PAPERS or path.name.startswith(("LICENSE", "NOTICE"))
    return named or (path.suffix in PAPERS and not inside)


def _sent_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that are published, in order."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts) and path.name != ".gitattributes"
        if path.is_file() and not hidden and path.suffix not in UNFINISHED:
            yield path


def _check_gates(report: VerifyReport, folder: Path) -> None:
    if report.passed:
        return
    failed = [gate for gate in report.gates if gate.verdict == "fail"]
    said = "; ".join(f"{gate.name} is {gate.value}, must be {gate.threshold}: {gate.remedy}" for gate in failed)
    raise ConversionError(f"{folder} did not pass its gates and is not published. {said or 'Nothing was measured.'}")


def _check_files(report: VerifyReport, folder: Path) -> None:
    """Raise ConversionError unless the folder holds the verified files as they were, and beside them papers alone."""
    for name, facts in report.files.items():
        path = folder / name
        if not path.is_file():
            raise ConversionError(f"{path} was verified and is gone. Make it again, then run verify again.")
        if file_facts(path) != facts:
            raise ConversionError(f"{path} is not the file that was verified. Run `python -m conversion verify` again.")
    for path in _sent_files(folder):
        relative = path.relative_to(folder)
        if relative.as_posix() not in report.files and not _is_paper(relative):
            raise ConversionError(f"{path} was never verified. Take it away, or run verify with it.")


def plan_publish(folder: Path, repo: str, tag: str, *, public: bool = False) -> Plan:
    """Check everything that can be checked without the network, and say what would be sent.

    Raises:
        ConversionError: The gates did not pass, a file is not the verified one or was never verified, the model card
            is missing, or a name is wrong.
    """
    report = read_report(folder / REPORT_FILE)
    _check_gates(report, folder)
    _check_files(report, folder)
    if not (folder / "README.md").is_file():
        raise ConversionError(
            f"{folder} has no README.md. Write it with `python -m conversion card --folder {folder}`."
        )
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _sent_files(folder)}
    return Plan(folder, repo, tag, public, sizes)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, outermost first."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _explained(repo: str, token: str) -> Iterator[None]:
    """Turn what the Hub's library raises into one sentence with the remedy; the token never stands in it."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except ConversionError:
        raise
    except Exception as error:
        for cause in _chain(error):
            status = getattr(cause.response, "status_code", 0) if isinstance(cause, HfHubHTTPError) else 0
            if status in REFUSED:
                raise ConversionError(
                    f"The Hub refuses {repo} ({status}): {REFUSED[status]}.", code="hub_refused"
                ) from None
        said = ": ".join(dict.fromkeys(_first_line(one) for one in _chain(error))).replace(token, "…")
        if isinstance(error, ValueError) and "metadata" in said:
            raise ConversionError(f"The Hub refuses the model card's metadata: {error}", code="hub_refused") from None
        raise ConversionError(f"The Hub did not take {repo}: {said} {AGAIN}", code="hub_unreachable") from None


def _tagged(api: "HfApi", plan: Plan) -> str | None:
    """Return the commit that the version names already, or None."""
    for one in api.list_repo_refs(plan.repo).tags:
        if one.name == plan.tag:
            return str(one.target_commit)
    return None


def _verified(api: "HfApi", plan: Plan, commit: str) -> int:
    """Compare the Hub's checksums with the local files' and return how many were compared.

    Raises:
        ConversionError: One differs or is missing.
    """
    found = api.verify_repo_checksums(plan.repo, revision=commit, local_dir=plan.folder)
    wrong = [item["path"] for item in found.mismatches if item["path"] in plan.sizes]
    wrong += [path for path in found.extra_paths if path in plan.sizes]
    if wrong:
        raise ConversionError(f"{', '.join(sorted(wrong)[:3])} on the Hub differs from the local file. {AGAIN}")
    return int(found.checked_count)


def _refuse_strangers(api: "HfApi", plan: Plan) -> None:
    """Raise ConversionError when the repository holds model files that are not sent: its tag would name them too."""
    there = (name for name in api.list_repo_files(plan.repo) if name not in plan.sizes and not _is_paper(Path(name)))
    strangers = ", ".join(sorted(there)[:3])
    if strangers:
        raise ConversionError(
            f"{plan.repo} holds {strangers} of an earlier version, which was not verified with this one. Delete it "
            f"there (`hf repos delete-files {plan.repo} …`; the earlier tag keeps it), or publish under another name."
        )


def _token() -> str:
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise ConversionError("No token of the Hub. Log in with `hf auth login`, or set HF_TOKEN.", code="hub_refused")
    return token


def publish(plan: Plan, *, endpoint: str | None = None, report: Report = lambda _step, _progress: None) -> Published:
    """Send a verified folder to a private repository, compare checksums, tag the version, then make it public if asked.

    A repository that exists keeps its visibility until the end. A version that is there already with the same files is
    left alone; with other files it is refused.

    Args:
        plan: What `plan_publish` gave.
        endpoint: Address of the Hub; None takes `HF_ENDPOINT`, else the public one.
        report: Called with each step and its share done.

    Raises:
        ConversionError: There is no token, the Hub refuses it, the connection broke (the same call goes on), the
            version exists with other files, the repository holds weights that are not sent, a file is no longer the
            verified one, or the checksums differ.
    """
    from huggingface_hub import HfApi

    token = _token()
    api = HfApi(endpoint=endpoint, token=token)
    with _explained(plan.repo, token):
        report("creating", 0.0)
        api.create_repo(plan.repo, private=True, exist_ok=True)
        commit = _tagged(api, plan)
        sent = commit is None
        if commit is None:
            _refuse_strangers(api, plan)
            report("uploading", 0.0)
            done = api.upload_folder(
                repo_id=plan.repo,
                folder_path=plan.folder,
                allow_patterns=[escape(name) for name in plan.sizes],
                commit_message=f"Version {plan.tag}",
            )
            commit = str(done.oid)
        report("checking", 0.0)
        n_files = _checked(api, plan, commit, sent=sent)
        if sent:
            _check_files(read_report(plan.folder / REPORT_FILE), plan.folder)  # as they were when they were sent
            api.create_tag(plan.repo, tag=plan.tag, revision=commit)
        if plan.public:
            api.update_repo_settings(plan.repo, private=False)
        private = bool(api.repo_info(plan.repo).private)
    log.info(
        "published repo=%s tag=%s commit=%s files=%d private=%s", plan.repo, plan.tag, commit[:12], n_files, private
    )
    return Published(plan.repo, plan.tag, commit, n_files, private, sent)


def _checked(api: "HfApi", plan: Plan, commit: str, *, sent: bool) -> int:
    """Compare checksums; a version of another day with other files is refused by its name."""
    try:
        return _verified(api, plan, commit)
    except ConversionError as error:
        if sent:
            raise
        raise ConversionError(f"Version {plan.tag} of {plan.repo} exists with other files. Choose another.") from error


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return a plan as the command prints it."""
    total = sum(plan.sizes.values())
    return {"repo": plan.repo, "tag": plan.tag, "public": plan.public, "files": plan.sizes, "bytes": total}
