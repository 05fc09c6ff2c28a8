"""The work behind ci/zoo (its --help is the manual).

One scratch tree serves all patches. Before each patch the tree is made equal to the working tree again by content: a
file that is the same keeps its time stamp, so ninja rebuilds what this patch and the last one touch and nothing else,
and the compiler cache knows the healthy half of that already.

A bug counts as found only when one of the rules that its head names has fired: a crash somewhere else is not a
detection.
"""
import argparse
import dataclasses
import filecmp
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "zoo" / "tree"
KEYS = ("id", "breaks", "needs", "rule", "engine", "command")
GRACE = 120  # seconds that a search may take beyond its limit: shrinking what it found at the last moment


class Trouble(Exception):
    """The zoo cannot do its work; the text is one line for people."""


@dataclasses.dataclass
class Bug:
    patch: pathlib.Path
    head: dict

    @property
    def id(self):
        return self.head["id"]

    @property
    def engine(self):
        return "command" if "command" in self.head else self.head["engine"]

    @property
    def rules(self):
        return re.findall(r"[\w.-]+", self.head["rule"])


@dataclasses.dataclass
class Result:
    id: str
    engine: str
    status: str = "missed"  # found, missed, wrong rule, does not apply, does not build, trouble
    rule: str = ""
    seconds: float | None = None
    runs: int | None = None
    operations: int | None = None
    faults: int | None = None
    departures: int | None = None
    reproducer: str = ""
    note: str = ""


def say(text):
    print(f"zoo: {text}", file=sys.stderr, flush=True)


# --- patches ---------------------------------------------------------------------------------------------------------

def read_head(patch):
    head, key = {}, None
    try:
        lines = patch.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(f"cannot read {patch}: {error}")
    for line in lines:
        if line.startswith(("diff --git ", "--- ")):
            break
        if match := re.match(r"# ([a-z]+): *(.*)", line):
            key = match.group(1)
            if key not in KEYS:
                raise Trouble(f"{patch}: unknown key '{key}' in its head (known: {', '.join(KEYS)})")
            head[key] = match.group(2).strip()
        elif key and line.startswith("# "):
            head[key] += " " + line[2:].strip()
    missing = [k for k in ("id", "breaks", "needs", "rule") if not head.get(k)]
    if missing or not (head.get("engine") or head.get("command")):
        raise Trouble(f"{patch}: its head lacks {', '.join(missing) or 'engine (or command)'}; see ci/zoo --help")
    if head["id"] != patch.stem:
        raise Trouble(f"{patch}: its id is '{head['id']}', but the file is called {patch.name}")
    if "command" not in head and head["engine"] not in ("check", "sweep", "threads"):
        raise Trouble(f"{patch}: unknown engine '{head['engine']}' (check, sweep, threads, or a command: line)")
    return head


def read_zoo(folder):
    if not folder.is_dir():
        raise Trouble(f"no folder {folder}")
    bugs = [Bug(patch.resolve(), read_head(patch)) for patch in sorted(folder.glob("*.patch"))]
    if not bugs:
        raise Trouble(f"no patches in {folder}")
    return bugs


def choose(bugs, options):
    known = {bug.id: bug for bug in bugs}
    if unknown := [i for i in options.ids if i not in known]:
        raise Trouble(f"no patch '{unknown[0]}' in {options.dir}; ci/zoo --list shows what there is")
    chosen = [known[i] for i in options.ids] or bugs
    if options.today:
        # Day by day a window moves over the zoo; counting days since 1970 keeps its step across new year.
        count, day = min(options.today, len(chosen)), int(time.time() // 86400)
        chosen = [chosen[(day * count + k) % len(chosen)] for k in range(count)]
    return chosen


# --- the scratch tree ------------------------------------------------------------------------------------------------

def git_environment():
    # The scratch tree lies inside the repository: without a ceiling git would take the paths of a patch as relative to
    # the repository and silently skip them all.
    environment = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    return environment | {"GIT_CEILING_DIRECTORIES": str(TREE.parent)}


def working_files():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True)
    if listing.returncode == 0:
        return {p for p in listing.stdout.decode().split("\0") if p and (ROOT / p).is_file()}
    # A tree without git (an unpacked archive): everything but what builds and runs leave behind.
    return {p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*")
            if p.is_file() and p.relative_to(ROOT).parts[0] not in ("build", "out", ".git")}


def sync_tree():
    wanted = working_files()
    TREE.mkdir(parents=True, exist_ok=True)
    for folder, folders, files in os.walk(TREE):
        relative = pathlib.Path(folder).relative_to(TREE)
        if relative == pathlib.Path("."):
            folders[:] = [f for f in folders if f not in ("build", "out")]
        for name in files:
            if (relative / name).as_posix() not in wanted:
                (TREE / relative / name).unlink()
    for path in wanted:
        source, copy = ROOT / path, TREE / path
        if not copy.exists() or not filecmp.cmp(source, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        shutil.copymode(source, copy)


def git_apply(bug, *flags):
    """None, or why the patch does not apply."""
    command = ["git", "apply", *flags, str(bug.patch)]
    done = subprocess.run(command, cwd=TREE, env=git_environment(), capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["git apply failed"])[0]


# --- running ---------------------------------------------------------------------------------------------------------

def run_group(command, seconds, log, **more):
    """(exit code or None when the time is up, stdout). The whole process group ends with it, also on Ctrl-C."""
    with open(log, "w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, cwd=TREE, stdout=subprocess.PIPE, stderr=errors, text=True,
                                   errors="replace", start_new_session=True, **more)
        try:
            return communicate(process, seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def communicate(process, seconds):
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ""


def build(preset, target, log):
    code, output = run_group(["ci/build", preset, target], None, log)
    return code == 0


def judge(result, bug, rule):
    result.rule = rule
    result.status = "found" if rule in bug.rules else "wrong rule"


def search_by_check(bug, options, out, result):
    if not build("release", "memtorture", out / "build.log"):
        result.status, result.note = "does not build", str(out / "build.log")
        return
    command = ["build/release/memtorture", "check", "--seconds", str(options.seconds), "--seed", str(options.seed),
               "--jobs", str(options.jobs), "--stop-at-first", "--out", str(out), "--json"]
    code, output = run_group(command, options.seconds + GRACE, out / "check.log")
    lines = [line for line in output.splitlines() if line.startswith("{")]
    try:
        summary = json.loads(lines[-1]) if lines else None
    except ValueError:
        summary = None
    if summary is None:
        result.status = "trouble"
        result.note = f"check ended with {'a timeout' if code is None else code} and no JSON, see {out / 'check.log'}"
        return
    result.seconds, result.runs = summary.get("seconds"), summary.get("runs")
    if findings := summary.get("findings"):
        expected = [f for f in findings if f.get("rule") in bug.rules]
        finding = (expected or findings)[0]
        for key in ("seconds", "runs", "operations", "faults", "departures"):
            setattr(result, key, finding.get(key, getattr(result, key)))
        result.reproducer = finding.get("path", "")
        judge(result, bug, finding.get("rule") or finding.get("verdict", "?"))


def search_by_sweep(bug, options, out, result):
    """The corpus first, then random cases until the time is up."""
    if not build("release", "memtorture", out / "build.log"):
        result.status, result.note = "does not build", str(out / "build.log")
        return
    started, seed, result.runs = time.monotonic(), options.seed, 0
    rounds = [["corpus/cases"]]
    while result.status == "missed" and (left := options.seconds - (time.monotonic() - started)) > 0:
        what = rounds.pop() if rounds else ["--generate", "100", "--seed", str(seed := seed + 1), "--no-crimes"]
        command = ["build/release/memtorture", "sweep", *what, "--out", str(out), "--json"]
        code, output = run_group(command, left + GRACE, out / "sweep.log")
        result.seconds = time.monotonic() - started
        try:
            summary = json.loads(output)
        except ValueError:
            result.status = "trouble"
            result.note = f"sweep ended with {'a timeout' if code is None else code} and no JSON: {out / 'sweep.log'}"
            return
        result.runs += sum(stage["runs"] for stage in summary["stages"].values())
        rules = {b["rule"]: b["path"] for b in summary["bugs"]}
        if rules:
            rule = next((r for r in rules if r in bug.rules), next(iter(rules)))
            result.reproducer = rules[rule]
            judge(result, bug, rule)


def search_by_program(bug, options, out, result, command):
    """Runs a program that must fail and name the rule; again and again with other seeds until the time is up."""
    started, seed = time.monotonic(), options.seed
    result.runs = 0
    while result.status == "missed" and (left := options.seconds - (time.monotonic() - started)) > 0:
        environment = os.environ | {"MEMTORTURE_SEED": str(seed), "TSAN_OPTIONS": "halt_on_error=1"}
        code, output = run_group(command, left + GRACE, out / "run.log", env=environment)
        result.runs, result.seconds, seed = result.runs + 1, time.monotonic() - started, seed + 1
        if code == 0:
            continue
        text = output + (out / "run.log").read_text(encoding="utf-8", errors="replace")
        (out / "run.log").write_text(text, encoding="utf-8")
        names = text.replace("ThreadSanitizer: data race", "data-race")
        fired = [r for r in bug.rules if re.search(rf"(?<![\w.-]){re.escape(r)}(?![\w-])", names)]
        result.reproducer = str(out / "run.log")
        judge(result, bug, fired[0] if fired else ("time is up" if code is None else f"exit code {code}"))


def search(bug, options):
    result = Result(bug.id, bug.engine)
    out = pathlib.Path(options.out).resolve() / bug.id
    try:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
    except OSError as error:
        raise Trouble(f"cannot write to {out} ({error.strerror}); choose another folder with --out")
    sync_tree()
    if why := git_apply(bug):
        result.status, result.note = "does not apply", why
    elif bug.engine == "check":
        search_by_check(bug, options, out, result)
    elif bug.engine == "sweep":
        search_by_sweep(bug, options, out, result)
    elif bug.engine == "command":
        search_by_program(bug, options, out, result, ["bash", "-c", bug.head["command"]])
    elif build("thread", "threads_tests", out / "build.log"):
        search_by_program(bug, options, out, result, ["build/thread/threads_tests", "--gtest_brief=1"])
    else:
        result.status, result.note = "does not build", str(out / "build.log")
    return result


# --- telling ---------------------------------------------------------------------------------------------------------

COLUMNS = ("bug", "result", "engine", "rule", "seconds", "runs", "operations", "faults", "departures")


def cell(value):
    return "-" if value is None or value == "" else f"{value:.1f}" if isinstance(value, float) else str(value)


def table(results):
    rows = [COLUMNS]
    for r in results:
        values = (r.id, r.status, r.engine, r.rule, r.seconds, r.runs, r.operations, r.faults, r.departures)
        rows.append(tuple(cell(v) for v in values))
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    words = 4  # the columns that are flush left; the others are figures

    def line(row):
        return "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()

    return "\n".join(map(line, rows))


def as_json(results, options, total):
    found = sum(r.status == "found" for r in results)
    return json.dumps({"seconds": options.seconds, "jobs": options.jobs, "seed": options.seed, "chosen": total,
                       "found": found, "entries": [dataclasses.asdict(r) for r in results]}, indent=1)


def tell(results, options, total):
    if options.json == "-":
        print(as_json(results, options, total))
    else:
        print(table(results))
        if options.json:
            try:
                pathlib.Path(options.json).write_text(as_json(results, options, total) + "\n", encoding="utf-8")
            except OSError as error:
                raise Trouble(f"cannot write {options.json}: {error.strerror}")
    found = sum(r.status == "found" for r in results)
    say(f"{found} of {total} found")
    return 0 if found == total else 1


def hunt(bugs, options):
    results = []
    try:
        for number, bug in enumerate(bugs, 1):
            say(f"[{number}/{len(bugs)}] {bug.id}: {bug.head['breaks'][:90]}")
            result = search(bug, options)
            results.append(result)
            detail = f" by {result.rule} in {cell(result.seconds)} s" if result.rule else ""
            say(f"[{number}/{len(bugs)}] {bug.id}: {result.status}{detail}{'  ' + result.note if result.note else ''}")
    except KeyboardInterrupt:
        say("interrupted")
        tell(results, options, len(bugs))
        return 130
    return tell(results, options, len(bugs))


def apply_only(bugs):
    sync_tree()
    failures = 0
    for bug in bugs:
        if why := git_apply(bug, "--check"):
            failures += 1
            print(f"{bug.patch}: does not apply: {why}")
    print(f"zoo: {len(bugs) - failures} of {len(bugs)} patches apply")
    return 1 if failures else 0


def parse_arguments():
    def positive(text):
        if not text.isdigit() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"needs a whole number above 0, not '{text}'")
        return int(text)

    parser = argparse.ArgumentParser(prog="zoo", add_help=False, usage="see ci/zoo --help")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / "corpus" / "zoo")
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--jobs", type=positive, default=1)
    parser.add_argument("--seed", type=positive, default=1)
    parser.add_argument("--out", default=str(ROOT / "out" / "zoo"))
    parser.add_argument("--json", default="")
    parser.add_argument("--today", type=positive, default=0)
    parser.add_argument("--apply-only", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("ids", nargs="*", metavar="ID")
    return parser.parse_args()


def main():
    options = parse_arguments()
    try:
        bugs = choose(read_zoo(options.dir), options)
        if options.list:
            for bug in bugs:
                print(f"{bug.id:32} {bug.engine:8} {bug.head['breaks']}")
            return 0
        return apply_only(bugs) if options.apply_only else hunt(bugs, options)
    except Trouble as trouble:
        say(str(trouble))
        return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
