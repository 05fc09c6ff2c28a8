"""The work behind ci/fuzz (its --help is the manual): runs the fuzz targets, watches over them and sums up.

Usage: fuzz.py SECONDS JOBS OUT ONLY

The targets shrink what they find, write it to $MEMTORTURE_FOUND and go on; each keeps its figures in a stats-*.json in
$MEMTORTURE_STATS. What is left for here: shares of the time, starting a target again that died of a crash, turning the
raw input of such a crash into a shrunk case, and the summary. Reproducers of earlier runs are never deleted.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
CANARY_SECONDS = 60   # it takes about one; this is when to give up
TEXT_SHARE = 6        # the parser gets one sixth of the first job's time
RESTARTS_MAX = 20     # of a target that keeps dying of the same crash
AUTOPSY_SECONDS = 180
SHRUNK_MAX = 8        # raw crashes that are made into cases; more are mostly the same again
OVERTIME = 120        # seconds for a target to finish what it shrinks
# What one input may take. The limits are generous: a hang or runaway memory is a finding, a busy machine is not.
LIMITS = ["-timeout=25", "-rss_limit_mb=3072", "-print_final_stats=1"]
PROGRAMS = ["kernel_fuzz", "objects_fuzz", "pages_fuzz"]  # targets that run cases
# They steer by behaviour features of their own, and their mutator by the structure of a case: no length ramp.
# Counts of edges would make libFuzzer keep inputs that only do the same more often, and cost a third of the time.
PROGRAM_FLAGS = ["-len_control=0", "-use_counters=0"]
FLAGS = {**{name: [*PROGRAM_FLAGS, "-max_len=8192"] for name in PROGRAMS}, "text_fuzz": ["-use_value_profile=1", "-max_len=16384"],
         "canary_fuzz": PROGRAM_FLAGS}
INTERRUPTED = 72      # libFuzzer's exit code for it

stop = threading.Event()


class Trouble(Exception):
    """The harness could not do its work; the text is one line for people."""


def say(text):
    print(f"fuzz: {text}", file=sys.stderr, flush=True)


class Campaign:
    def __init__(self, out, seconds, jobs):
        self.out, self.seconds, self.jobs = out, seconds, jobs
        self.started = time.time()
        self.troubles = []
        self.logs = {}   # target -> log of each job
        self.spent = {}  # target -> seconds of all its jobs together
        for name in ("stats", "logs"):
            shutil.rmtree(out / name, ignore_errors=True)
        for name in ("stats", "logs", "found", "artifacts", "corpus"):
            (out / name).mkdir(parents=True, exist_ok=True)

    def new_files(self, folder):
        folder = self.out / folder
        return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_mtime >= self.started - 1)

    def marks(self):
        """What has been found so far; the same input found again counts as new."""
        return {(p, p.stat().st_mtime_ns) for folder in ("artifacts", "found") for p in self.new_files(folder)}


# --- one target ------------------------------------------------------------------------------------------------------

def seeds_of(target):
    if target == "text_fuzz":
        return [ROOT / "corpus" / "cases", ROOT / "corpus" / "seeds"]
    return [BUILD / "seeds" / "programs"]


def command_of(target, out, seconds):
    corpus, artifacts = out / "corpus" / target, out / "artifacts" / target
    corpus.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    dictionary = ROOT / "fuzz" / f"{target}.dict"
    return [str(BUILD / target), f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={artifacts}/", *LIMITS,
            *FLAGS.get(target, []), *([f"-dict={dictionary}"] if dictionary.is_file() else []),
            str(corpus), *[str(s) for s in seeds_of(target) if s.is_dir()]]


def start(target, out, seconds, log, keep_going="1"):
    environment = os.environ | {"MEMTORTURE_FOUND": str(out / "found"), "MEMTORTURE_STATS": str(out / "stats"),
                                "MEMTORTURE_KEEP_GOING": keep_going}
    with open(log, "a", encoding="utf-8") as stream:
        return subprocess.Popen(command_of(target, out, seconds), cwd=out, env=environment, stdin=subprocess.DEVNULL,
                                stdout=stream, stderr=stream, start_new_session=True)


def finish(process, deadline):
    """Waits for the end of a target; on Ctrl-C asks it to end, after the deadline makes it. None: had to be made."""
    asked = False
    while process.poll() is None:
        if stop.is_set() and not asked:
            process.send_signal(signal.SIGINT)
            asked, deadline = True, time.time() + 20
        if time.time() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.1)
    return process.returncode


def run_target(campaign, target, seconds, job):
    """Runs one target for a time, again and again while it dies of inputs that it names."""
    log = campaign.out / "logs" / f"{target}-{job}.log"
    campaign.logs.setdefault(target, []).append(log)
    end = time.time() + seconds
    for _ in range(RESTARTS_MAX):
        began, left = time.time(), end - time.time()
        if left < 0.5 or stop.is_set():
            return
        before = campaign.marks()
        code = finish(start(target, campaign.out, left, log), end + OVERTIME)
        campaign.spent[target] = campaign.spent.get(target, 0) + time.time() - began
        if code in (0, INTERRUPTED):
            return
        if code is None:
            if not stop.is_set():
                campaign.troubles.append(f"{target} did not end in time (log: {log})")
            return
        if not campaign.marks() - before:
            campaign.troubles.append(f"{target} died with code {code} and named no input (log: {log})")
            return
    say(f"{target} died {RESTARTS_MAX} times; its findings have to be fixed before more fuzzing makes sense")


def run_canary(campaign):
    """The planted bug must come out as a reproducer; otherwise a clean result of the other targets means nothing."""
    out = campaign.out / "canary"
    shutil.rmtree(out, ignore_errors=True)
    for name in ("found", "stats"):
        (out / name).mkdir(parents=True)
    log, began = campaign.out / "logs" / "canary_fuzz.log", time.time()
    # It ends by itself after its first finding, shrunk and saved.
    finish(start("canary_fuzz", out, CANARY_SECONDS, log, keep_going="0"), began + CANARY_SECONDS + OVERTIME)
    took = time.time() - began
    cases = sorted(out.glob("found/*.case"))
    if not cases and not stop.is_set():
        campaign.troubles.append(f"the canary was NOT found: fuzzing would miss real bugs too (log: {log})")
    return f"found in {took:.1f} s: {cases[0]}" if cases else "not found"


# --- what crashes left -----------------------------------------------------------------------------------------------

def shrink_artifact(campaign, artifact):
    """Raw bytes that killed a target -> a shrunk case. Best effort: the bytes themselves always remain."""
    environment = os.environ | {"MEMTORTURE_FOUND": str(campaign.out / "found")}
    try:
        done = subprocess.run([str(BUILD / "fuzz_autopsy"), str(artifact)], env=environment, capture_output=True,
                              text=True, timeout=AUTOPSY_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return artifact
    named = pathlib.Path(done.stdout.strip().removeprefix(f"{artifact}: "))
    return named if named.suffix == ".case" and named.is_file() else artifact


def reproducers(campaign, named):
    """What was found in this campaign: new files, and files of earlier ones whose bug came up again."""
    cases = [p for p in campaign.new_files("found") if p.suffix == ".case"]
    cases += sorted(p for p in map(pathlib.Path, named) if p.suffix == ".case" and p.is_file() and p not in cases)
    shrunk = 0
    for artifact in campaign.new_files("artifacts"):
        if artifact.name.startswith("slow-unit-"):
            continue
        if artifact.parent.name in PROGRAMS and shrunk < SHRUNK_MAX:
            artifact, shrunk = shrink_artifact(campaign, artifact), shrunk + 1
        if artifact not in cases:
            cases.append(artifact)
    return cases


# --- summary ---------------------------------------------------------------------------------------------------------

def figures(logs):
    """(executions, edges, features, corpus) of one target from what libFuzzer prints."""
    executed = edges = features = corpus = 0
    for log in filter(pathlib.Path.is_file, logs):
        text = log.read_text(encoding="utf-8", errors="replace")
        executed += sum(int(n) for n in re.findall(r"number_of_executed_units: (\d+)", text))
        edges = max([edges] + [int(n) for n in re.findall(r"\bcov: (\d+)", text)])
        features = max([features] + [int(n) for n in re.findall(r"\bft: (\d+)", text)])
        corpus = max([corpus] + [int(n) for n in re.findall(r"\bcorp: (\d+)", text)])
    return executed, edges, features, corpus


def sum_stats(campaign):
    """The figures of all processes added up; "findings" becomes the set of reproducers that they named."""
    total = {"findings": set()}
    for file in campaign.out.glob("stats/*.json"):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # written half by a target that was killed
        if values.get("target") == "text_fuzz":
            continue  # it runs no cases, and names what it found by artifacts
        for key, value in values.items():
            if key == "findings" and isinstance(value, list):
                total[key] |= set(value)
            elif key != "findings" and isinstance(value, (int, float)):
                total[key] = total.get(key, 0) + value
    return total


def count(total, key):
    return f"{int(total[key]):,}" if key in total else "not reported"


def summarise(campaign, canary):
    total = sum_stats(campaign)
    cases = reproducers(campaign, total["findings"])
    took = time.time() - campaign.started
    print(f"\nfuzz: {took:.0f} s, {campaign.jobs} job(s), AddressSanitizer and UndefinedBehaviorSanitizer; "
          "executions a second are of one job")
    print(f"  {'target':12} {'executions':>13} {'a second':>9} {'edges':>7} {'features':>9} {'corpus':>7}")
    for target, logs in sorted(campaign.logs.items()):
        executed, edges, features, corpus = figures(logs)
        rate = round(executed / max(campaign.spent.get(target, 0), 0.1))
        print(f"  {target:12} {executed:13,} {rate:9,} {edges:7,} {features:9,} {corpus:7,}")
    if canary:
        print(f"  canary_fuzz  {canary}")
    if not campaign.logs.keys().isdisjoint(PROGRAMS):
        print(f"  operations checked {count(total, 'operations')}, cases {count(total, 'cases')}, "
              f"faults fired {count(total, 'faults')}, interrupts {count(total, 'interrupts')}")
    print(f"  findings {len(cases)}")
    for case in cases:
        how = f"build/fuzz/{case.parent.name}" if case.suffix != ".case" else "ci/memtorture replay"
        print(f"    {case}   ({how} shows it)")
    older = [p for p in (campaign.out / "found").glob("*.case") if p not in cases]
    if older:
        print(f"  {len(older)} reproducer(s) of earlier runs in {campaign.out / 'found'}")
    for trouble in campaign.troubles:
        say(trouble)
    if stop.is_set():
        return 130
    return 2 if campaign.troubles else 1 if cases else 0


# --- all of it -------------------------------------------------------------------------------------------------------

def shares(seconds, jobs, only):
    """For each job the targets that it runs one after another, with their seconds."""
    if only:
        return [[(only, seconds)] for _ in range(jobs)]
    text = max(1, seconds // TEXT_SHARE)
    rest = seconds - text
    first = [("text_fuzz", text), *((name, max(1, rest // len(PROGRAMS))) for name in PROGRAMS)]
    each = [[(name, max(1, seconds // len(PROGRAMS))) for name in PROGRAMS]]
    return [first] + each * (jobs - 1)


def run_job(campaign, job, work):
    for target, seconds in work:
        run_target(campaign, target, seconds, job)


def watch(campaign, workers):
    shown = time.time()
    while any(w.is_alive() for w in workers):
        time.sleep(0.2)
        if time.time() - shown >= 15:
            shown = time.time()
            found = sum(p.suffix == ".case" for p in campaign.new_files("found"))
            say(f"{shown - campaign.started:.0f} s, {found} reproducers so far")


def main(arguments):
    seconds, jobs, out, only = int(arguments[0]), int(arguments[1]), pathlib.Path(arguments[2]), arguments[3]
    targets = [only] if only else [*PROGRAMS, "text_fuzz", "canary_fuzz"]
    for target in targets:
        if not (BUILD / target).is_file():
            raise Trouble(f"no fuzz target {target} in {BUILD} (there are: "
                          f"{', '.join(sorted(p.name for p in BUILD.glob('*_fuzz'))) or 'none'})")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    campaign = Campaign(out.resolve(), seconds, jobs)
    canary = ""
    if "canary_fuzz" in targets:
        say("canary_fuzz: has a planted bug, which must be found first")
        canary = run_canary(campaign)
    if only != "canary_fuzz" and not stop.is_set():
        say(f"fuzzing for {seconds} s with {jobs} job(s), logs in {campaign.out / 'logs'}")
        campaign.started = time.time()
        workers = [threading.Thread(target=run_job, args=(campaign, job, work))
                   for job, work in enumerate(shares(seconds, jobs, only))]
        for worker in workers:
            worker.start()
        watch(campaign, workers)
    return summarise(campaign, canary)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Trouble as trouble:
        say(str(trouble))
        sys.exit(2)
    except OSError as error:
        say(f"{error.strerror}: {error.filename}; free some space or choose another folder with --out")
        sys.exit(2)
