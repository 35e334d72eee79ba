#!/usr/bin/env python3
"""Runs the vigil-leakcheck commands of the CI snippets in docs/leak-check.md.

usage: snippets_test.py PAGE BIN

Both yaml blocks must parse to what GitHub and GitLab expect of a job; each command that runs vigil-leakcheck is run by sh
in an empty folder with BIN in the PATH, must succeed, and must leave the files that the job uploads.
Exit status: 0, or 1 with what is wrong.
"""

import glob
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import yaml


def commands(job):
    """The shell commands of a GitHub or GitLab job, and the files that it keeps."""
    if "steps" in job:
        runs = [step["run"] for step in job["steps"] if "run" in step]
        kept = [step["with"]["path"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    else:
        runs = job["script"]
        kept = [job["artifacts"]["reports"]["junit"]]
    return [run for run in runs if "vigil-leakcheck" in run], kept


def main():
    page, bin_folder = sys.argv[1:]
    blocks = re.findall(r"```yaml\n(.*?)```", pathlib.Path(page).read_text(), re.DOTALL)
    jobs = []
    for block in blocks:
        document = yaml.safe_load(block)
        jobs.append((document.get("jobs") or document)["leakcheck"])
    if len(jobs) != 2:
        sys.exit(f"{page} has {len(jobs)} snippets, not one for GitHub and one for GitLab")
    environment = dict(os.environ, PATH=bin_folder + os.pathsep + os.environ["PATH"])
    for job in jobs:
        runs, kept = commands(job)
        if len(runs) != 1 or not kept:
            sys.exit(f"not one command with vigil-leakcheck, or nothing kept: {job}")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["sh", "-e", "-c", runs[0]], cwd=folder, env=environment)
            if done.returncode != 0:
                sys.exit(f"exit status {done.returncode} of: {runs[0]}")
            for pattern in kept:
                files = glob.glob(os.path.join(folder, pattern))
                if not files:
                    sys.exit(f"{pattern} is not there after: {runs[0]}")
                for name in files:
                    if name.endswith(".xml"):
                        xml.etree.ElementTree.parse(name)


if __name__ == "__main__":
    main()
