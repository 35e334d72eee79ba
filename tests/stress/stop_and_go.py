#!/usr/bin/env python3
"""Runs a test program while it is stopped and continued all the time (P9.5): its results must be what they are without.

usage: stop_and_go.py PERIOD_MS PROGRAM [ARGUMENT…]

The program and its children, in a process group of their own, get SIGSTOP and SIGCONT by turns, PERIOD_MS apart. The exit
status is the program's; 128 + N if signal N ended it, 2 if it was never stopped.
"""

import os
import signal
import subprocess
import sys
import time


def stop_and_continue(program, period_s):
    """Until it ends; how often."""
    stops = 0
    while program.poll() is None:
        try:
            os.killpg(program.pid, signal.SIGSTOP)
            time.sleep(period_s)
            os.killpg(program.pid, signal.SIGCONT)
            stops += 1
            time.sleep(period_s)
        except ProcessLookupError:
            break
    return stops


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # CTest's, when the time is over
    program = subprocess.Popen(sys.argv[2:], start_new_session=True)
    try:
        stops = stop_and_continue(program, int(sys.argv[1]) / 1000)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
    status = program.wait()
    print(f"stopped {stops} times", file=sys.stderr)
    if stops == 0:
        sys.exit(2)
    sys.exit(status if status >= 0 else 128 - status)


main()
