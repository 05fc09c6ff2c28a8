#!/usr/bin/env python3
"""Runs the real command on good and bad input and checks what it prints and how it ends.

Usage: cli_test.py MEMTORTURE SOURCE_DIR [unittest arguments]

Nothing here waits for a time: where a process has to have come so far, the test asks until it has.
Not checked: the live line of a terminal, and that a hanging worker is ended (ten seconds of doing nothing).
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

COMMAND, ROOT = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
USAGE, IO, DRIFTED, CRASH, NONDETERMINISTIC, INTERRUPTED = 2, 3, 4, 5, 8, 130

PASSES = "memtorture 1\nmachine tiny-32\nexpect pass\n\ntask a cpu0\n  p = alloc_page GFP_KERNEL\n  __free_page p\n"
TWICE = ("memtorture 1\n# freed by both\nmachine tiny-32 cpus=2\nexpect misuse double-free\n\n"
         "task a cpu0\n  nr_free_pages\n  q = alloc_pages GFP_KERNEL 2\n  p = alloc_page GFP_KERNEL\n  fill p 0x5a\n"
         "  __free_page p\n  __free_page p\n  __free_pages q 2\n\ntask b cpu1\n  r = alloc_page GFP_KERNEL\n  __free_page r\n")


def run(*arguments, stdin=b"", **more):
    done = subprocess.run([COMMAND, *map(str, arguments)], input=stdin, capture_output=True, timeout=250, **more)
    done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return done


class Test(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def case(self, text, name="x.case"):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def complains(self, done, code, *words):
        """One line, with these words, and that code."""
        self.assertEqual(done.returncode, code, done.err)
        self.assertRegex(done.err, r"\Amemtorture: [^\n]*\n\Z")
        for word in words:
            self.assertIn(word, done.err)


class Sweep(Test):
    OBJECTS = ("memtorture 1\nmachine tiny-64 objects=slab\nexpect pass\n\ntask a cpu0\n  p = kmalloc 100 GFP_KERNEL\n"
               "  q = alloc_page GFP_KERNEL\n")

    def sweep(self, *arguments):
        return run("sweep", *arguments, "--out", self.folder / "found")

    def test_matrix(self):
        done = self.sweep(self.case(self.OBJECTS), "--crossed", "0")
        self.assertEqual(done.returncode, 0, done.err)
        self.assertRegex(done.out, r"(?m)^operation +irq.storm +kstack.charge .* page.alloc .* slab.alloc +wake.lost$")
        self.assertRegex(done.out, r"(?m)^kmalloc +- .*1/0 +-$")
        self.assertRegex(done.out, r"(?m)^alloc_page +(- +)+1/0 ")
        self.assertRegex(done.out, r"(?m)^  single +\d+ runs, 0 bugs$")
        self.assertIn("never reached: kstack.charge\n", done.out)

    def test_json_says_the_same_each_time(self):
        first, second = (self.sweep(self.case(self.OBJECTS), "--generate", "3", "--seed", "5", "--json") for _ in range(2))
        self.assertEqual(first.out, second.out)
        summary = json.loads(first.out)
        self.assertEqual((summary["cases"] + summary["skipped"], summary["exit"], summary["bugs"]), (4, 0, []))
        self.assertEqual(summary["stages"]["untouched"]["runs"], 4)
        cells = {(c["site"], c["operation"]): c for c in summary["cells"]}
        self.assertGreaterEqual(cells["slab.alloc", "kmalloc"]["failed"], 1)

    def test_all_sites(self):
        self.complains(self.sweep(self.case(self.OBJECTS), "--all-sites"), 1, "never reached", "kstack.charge")

    def test_nothing_to_sweep(self):
        self.complains(self.sweep(), USAGE, "nothing to sweep", "--generate")

    def test_interrupt_ends_with_the_matrix(self):
        process = subprocess.Popen([COMMAND, "sweep", "--generate", "1000000", "--out", self.folder], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text().split():
            pass
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=250)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertIn("sweep: ", out)


class Usage(Test):
    def test_help_of_every_verb_has_examples(self):
        verbs = re.findall(r"^  ([a-z]+) {3,}", run("--help").out.split("Verbs:")[1].split("First steps")[0], re.M)
        self.assertGreaterEqual(len(verbs), 11)
        for verb in verbs:
            done = run(verb, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"Usage: memtorture {verb}", done.out)
            self.assertIn(f"Examples:\n", done.out)

    def test_version(self):
        self.assertRegex(run("--version").out, r"\Amemtorture \d+\.\d+\n\Z")

    def test_wrong_usage_is_one_line(self):
        self.complains(run(), USAGE, "a verb is missing")
        self.complains(run("chek"), USAGE, "unknown verb 'chek'", "did you mean 'check'?")
        self.complains(run("run"), USAGE, "FILE is required")
        self.complains(run("run", "--twise"), USAGE, "unknown option '--twise'", "did you mean '--twice'?")
        self.complains(run("replay", "a", "b"), USAGE, "unexpected argument 'b'")
        self.complains(run("check", "--seconds", "abc"), USAGE, "expected a number", "found 'abc'")
        self.complains(run("check", "--seconds", "0"), USAGE, "expected a number 1..")
        self.complains(run("check", "--jobs", "-1"), USAGE, "expected a number 1..")
        self.complains(run("run", "x", "--audit", "often"), USAGE, "expected never, end, every", "found 'often'")
        self.complains(run("list", "things"), USAGE, "expected one of subjects|machines", "found 'things'")
        self.complains(run("completion", "fish"), USAGE, "expected bash")
        self.complains(run("gen", "--count", "2"), USAGE, "-o DIR")
        self.complains(run("run", "x", "--twice", "--sandbox"), USAGE, "--twice")

    def test_documents_agree_with_the_command(self):
        self.assertEqual(run("man").out, (ROOT / "cli/memtorture.1").read_text(), "memtorture man > cli/memtorture.1")
        self.assertEqual(run("completion", "bash").out, (ROOT / "cli/completion.bash").read_text(),
                         "memtorture completion bash > cli/completion.bash")
        readme, codes = (ROOT / "cli/README.md").read_text(), run("--help").out.split("Exit codes:\n")[1]
        rows = re.findall(r"^ +(\d+)  (.*)$", codes, re.M)
        self.assertEqual(re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.M), rows)
        self.assertEqual(len(rows), 12)

    def test_completion_completes(self):
        script = (f'source "{ROOT}/cli/completion.bash"; COMP_WORDS=(memtorture {{}}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); '
                  '_memtorture; echo "${COMPREPLY[*]}"').replace("{{", "{").replace("}}", "}")
        for words, wanted in [("ch", "check"), ("list ma", "machines"), ("run --tw", "--twice"), ("replay --audit ev", "every"),
                              ("check --seconds ''", "")]:
            done = subprocess.run(["bash", "-c", script.replace("{}", words)], capture_output=True, text=True, cwd=self.folder)
            self.assertEqual(done.stdout.strip(), wanted, done.stderr)


class BadInput(Test):
    def test_malformed_case_names_its_place(self):
        bad = self.case("memtorture 1\nmachine tiny-32\n\ntask a cpu0\n  p = alloc_page GFP_KERNEL\n  free_pge p\n")
        for verb in (["replay"], ["fmt"], ["encode"], ["shrink", "-o", self.folder / "out"]):
            self.complains(run(verb[0], bad, *verb[1:]), USAGE, f"{bad}:6:3: expected", "found 'free_pge'", "free_page")
        done = run("run", bad)
        self.complains(done, USAGE, f"{bad}:6:3: expected")
        self.assertIn("NOT OK", done.out)

    def test_impossible_machines(self):
        for machine in ("tiny-32 cpus=0", "x86-32 ram=2T", "buddy16 ram=4K nodes=4", "nothing"):
            self.complains(run("replay", self.case(f"memtorture 1\nmachine {machine}\n\ntask a cpu0\n")), USAGE, ":2:")

    def test_files_that_cannot_be_read(self):
        self.complains(run("replay", self.folder / "none"), IO, "No such file")
        self.complains(run("replay", self.folder), IO, "Is a directory")
        self.complains(run("run", self.folder / "none"), IO, "No such file")
        self.complains(run("run", self.folder), USAGE, "no *.case files")
        self.complains(run("decode", "/proc/self/mem"), IO, "cannot read")

    def test_files_that_cannot_be_written(self):
        case = self.case(TWICE)
        self.complains(run("decode", case, "-o", "/dev/full"), IO, "/dev/full", "No space left")
        self.complains(run("gen", "-o", self.folder / "no/such/x.case"), IO)
        self.complains(run("check", "--runs", "1", "--out", case / "below"), IO, "below", "--out")
        self.complains(run("check", "--runs", "1", "--out", "/proc/none"), IO, "/proc/none")
        self.assertEqual(run("shrink", case, "-o", "/dev/full").returncode, IO)
        self.assertEqual(run("run", case, "--junit", "/dev/full").returncode, IO)
        self.assertTrue(pathlib.Path("/dev/full").is_char_device(), "a device was replaced by a file")
        for arguments in (["list", "rules"], ["gen"], ["run", case], ["--help"], ["man"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([COMMAND, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, IO, arguments)
            self.assertIn(b"standard output: cannot write", done.stderr)

    def test_any_bytes_are_a_case(self):
        for size in (1, 7, 100, 1000):
            path = self.folder / "bytes"
            path.write_bytes(bytes([0xff, 0] + [(i * 37 + size) % 256 for i in range(size)]))
            self.assertIn(run("run", path).returncode, (0, 1))
            self.assertTrue(run("decode", path).out.startswith("memtorture 1\n"))


class Run(Test):
    def test_table(self):
        self.case(PASSES, "b/one.case")
        self.case(TWICE, "a.case")
        self.case("not looked at", "notes.txt")
        done = run("run", self.folder, "--twice")
        self.assertEqual(done.returncode, 0, done.err)
        rows = [line.split() for line in done.out.splitlines()]
        self.assertEqual(rows[0], ["case", "verdict", "rule", "result"])
        self.assertEqual([row[1:] for row in rows[1:3]], [["misuse", "double-free", "ok"], ["pass", "-", "ok"]])
        self.assertEqual(done.out.splitlines()[-1], "2 cases, 2 ok, 0 not ok")

    def test_expectation_that_is_not_met(self):
        case = self.case(TWICE.replace("expect misuse double-free", "expect pass"))
        for more in ([], ["--sandbox"], ["--audit", "every"], ["--audit", "never"], ["--audit", "3"]):
            done = run("run", case, *more)
            self.complains(done, 1, "expected pass, got misuse double-free")
            self.assertIn("NOT OK", done.out)

    def test_one_bad_file_does_not_hide_the_others(self):
        good, bad = self.case(PASSES, "good.case"), self.case("memtorture 2\n", "bad.case")
        done = run("run", good, bad, self.case(TWICE.replace("double-free", "leak"), "wrong.case"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("3 cases, 1 ok, 2 not ok", done.out)
        self.assertIn(f"{bad}:1:", done.err)

    def test_json(self):
        report = json.loads(run("run", self.case(TWICE), "--json", "--history").out)
        self.assertEqual((report["passed"], report["failed"], report["exit"]), (1, 0, 0))
        case = report["cases"][0]
        self.assertEqual((case["verdict"], case["rule"], case["ok"]), ("misuse", "double-free", True))
        self.assertEqual(case["expect"], {"verdict": "misuse", "rule": "double-free"})
        self.assertIn("__free_page p", case["history"])
        self.assertGreater(case["operations"], 5)

    def test_junit(self):
        report = self.folder / "report.xml"
        self.case(PASSES, "a/good.case")
        self.case(TWICE.replace("misuse double-free", "pass"), "a/wrong.case")
        self.case("memtorture", "a/bad.case")
        self.assertEqual(run("run", self.folder / "a", "--junit", report).returncode, 1)
        suite = xml.etree.ElementTree.parse(report).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures"), suite.get("errors")), ("3", "1", "1"))
        self.assertIn("got misuse double-free", suite.find("testcase/failure").get("message"))
        self.assertEqual(list(self.folder.glob("report.xml.*")), [])

    def test_history_is_the_same_each_time(self):
        case = self.case(TWICE)
        histories = {run("run", case, "--history").out for _ in range(3)}
        self.assertEqual(len(histories), 1)
        self.assertIn("p = alloc_page GFP_KERNEL", histories.pop())


class Replay(Test):
    def last_line(self, text, code):
        done = run("replay", self.case(text))
        self.assertEqual(done.returncode, code, done.out + done.err)
        return done, done.out.splitlines()[-1]

    def test_same(self):
        done, last = self.last_line(TWICE, 0)
        self.assertTrue(last.endswith(": same"), last)
        self.assertIn("Operation: a.5: __free_page p", done.out)

    def test_passes(self):
        _, last = self.last_line(PASSES.replace("expect pass", "expect finding page.overlap"), 0)
        self.assertIn("passes (expected finding page.overlap)", last)
        _, last = self.last_line(PASSES.replace("expect pass", "expect double-free"), 1)
        self.assertIn("passes (expected misuse double-free)", last)

    def test_different(self):
        _, last = self.last_line(TWICE.replace("misuse double-free", "finding page.overlap"), 1)
        self.assertIn("different: expected finding page.overlap, got misuse double-free", last)

    def test_drifted(self):
        text = PASSES.replace("alloc_page GFP_KERNEL\n", "alloc_page GFP_KERNEL  ! fail page.alloc:7\n")
        done, last = self.last_line(text, DRIFTED)
        self.assertIn("drifted at step 1 of 1: a.0 ! fail page.alloc:7 was not taken", last)

    def test_standard_input(self):
        self.assertEqual(run("replay", "-", stdin=PASSES.encode()).out.splitlines()[-1], "-: same")


class Shrink(Test):
    def test_keeps_the_bug_and_nothing_else(self):
        big, small = self.case(TWICE), self.folder / "small.case"
        for more in ([], ["--sandbox"]):
            done = run("shrink", big, "-o", small, *more)
            self.assertEqual(done.returncode, 0, done.err)
            self.assertIn("wrote", done.err)
            self.assertEqual(run("run", small).returncode, 0)
            text = small.read_text()
            self.assertIn("expect misuse double-free", text)
            self.assertEqual(text.count("__free_page"), 2)
            self.assertNotIn("task b", text)
            report = small.with_suffix(".txt")
            history = run("replay", small).out.split("=====")[0]
            self.assertIn("__free_page", history)
            self.assertIn(history, report.read_text())
            small.unlink()
            report.unlink()

    def test_nothing_to_shrink(self):
        out = self.folder / "out.case"
        self.complains(run("shrink", self.case(PASSES), "-o", out), 1, "nothing to shrink")
        self.assertFalse(out.exists())

    def test_takes_fuzz_bytes(self):
        case, raw, small = self.case(TWICE), self.folder / "raw", self.folder / "small.case"
        self.assertEqual(run("encode", case, "-o", raw).returncode, 0)
        self.assertEqual(run("shrink", raw, "-o", small).returncode, 0)
        self.assertIn("expect misuse double-free", small.read_text())


class Convert(Test):
    def test_gen_is_a_function_of_its_seed(self):
        one = run("gen", "--seed", "42")
        self.assertEqual(one.returncode, 0)
        self.assertEqual(one.out, run("gen", "--seed", "42").out)
        self.assertNotEqual(one.out, run("gen", "--seed", "43").out)
        self.assertEqual(run("fmt", "-", stdin=one.stdout).out, one.out)
        self.assertNotEqual(run("gen", "--seed", "42", "--ops-max", "10").out, one.out)

    def test_gen_count(self):
        self.assertEqual(run("gen", "--seed", "5", "--count", "3", "-o", self.folder / "new").returncode, 0)
        self.assertEqual(sorted(p.name for p in (self.folder / "new").iterdir()), [f"seed-{n}.case" for n in (5, 6, 7)])

    def test_gen_run_writes_what_happens(self):
        for seed in range(1, 21):
            text = run("gen", "--seed", seed, "--run").stdout
            done = run("replay", "-", stdin=text)
            self.assertEqual(done.out.splitlines()[-1], "-: same", text.decode())

    def test_bytes_and_back(self):
        raw = self.folder / "raw"
        self.assertEqual(run("encode", self.case(TWICE), "-o", raw).returncode, 0)
        text = run("decode", raw)
        self.assertEqual(text.returncode, 0)
        self.assertEqual(run("encode", "-", stdin=text.stdout).stdout, raw.read_bytes())
        self.assertEqual(text.out.count("__free_page "), 3)

    def test_fmt(self):
        ugly = self.case(PASSES.replace("  p =", " p   =") + "# lost\n")
        self.assertEqual(run("fmt", ugly).out, PASSES)
        done = run("fmt", "--check", ugly)
        self.assertEqual((done.returncode, done.out), (1, f"{ugly}\n"))
        self.complains(run("fmt", "-i", ugly), USAGE, ":8:", "comment would be lost")
        self.assertIn("# lost", ugly.read_text())
        self.assertEqual(run("fmt", "-i", "--drop-comments", ugly).returncode, 0)
        self.assertEqual(ugly.read_text(), PASSES)
        self.assertEqual(run("fmt", "--check", ugly).returncode, 0)

    def test_lists(self):
        for topic in ("subjects", "machines", "operations", "sites", "rules", "flags"):
            rows = json.loads(run("list", topic, "--json").out)
            lines = run("list", topic).out.splitlines()
            self.assertEqual(len(lines), len(rows) + 1)
            self.assertEqual([line.split()[0] for line in lines[1:]], [row[topic[:-1]] for row in rows])
        self.assertIn("double-free", [row["rule"] for row in json.loads(run("list", "rules", "--json").out)])


class Check(Test):
    """What is said here holds on a subject with bugs, too: some of these tests run on trees that have them."""

    def check(self, *arguments):
        return run("check", "--out", self.folder / "found", "--json", *arguments)

    def test_runs_do_not_depend_on_jobs(self):
        def figures(jobs):
            summary = json.loads(self.check("--runs", "300", "--seed", "7", "--jobs", jobs).out)
            return {key: summary[key] for key in ("runs", "operations", "refused", "faults", "interrupts", "verdicts")}
        one = figures(1)
        self.assertEqual(one["runs"], 300)
        self.assertGreater(one["operations"], 300)
        self.assertEqual(one, figures(3))

    def test_summary_for_people(self):
        done = run("check", "--runs", "20", "--out", self.folder / "found", "--no-crimes", "--no-faults")
        self.assertRegex(done.out, r"\Acheck: [\d.]+ s, seed 1, 1 job\n  runs +20 ")
        self.assertIn("injected    0 faults", done.out)
        self.assertNotIn("misuse", done.out)

    def worker_of(self, process):
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None:
            if found := children.read_text().split():
                return int(found[0])
        self.fail(process.communicate())

    def start(self, *arguments):
        command = [COMMAND, "check", "--out", str(self.folder / "found"), "--json", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    def test_interrupt_ends_with_the_summary(self):
        process = self.start("--seconds", "3600")
        worker = self.worker_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        summary = json.loads(out)
        self.assertTrue(summary["interrupted"])
        self.assertEqual(process.returncode, INTERRUPTED if not summary["findings"] else summary["exit"], err)
        self.assertFalse(pathlib.Path(f"/proc/{worker}").exists())

    def test_death_of_a_worker_is_a_finding(self):
        process = self.start("--seconds", "3600", "--stop-at-first")
        worker = self.worker_of(process)
        while pathlib.Path(f"/proc/{worker}/stat").exists():  # until it is what the watcher waits for
            os.kill(worker, signal.SIGSEGV)
            if "looking into it" in process.stderr.readline():
                break
        out, _ = process.communicate(timeout=100)
        found = [f for f in json.loads(out)["findings"] if f["verdict"] == "crash"]
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0]["path"].startswith(str(self.folder / "found")))
        self.assertIn("expect crash", pathlib.Path(found[0]["path"]).read_text())
        self.assertFalse(found[0]["reproduced"], "the run by itself is innocent")
        self.assertEqual(process.returncode, NONDETERMINISTIC)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
