"""Runs the README's `sh` blocks, in order, in one shell and an empty folder.

    readme.py README.md FOLDER-WITH-POSTHASTE

A block whose first line is `# not run here: …` is left out, with its reason printed. A block ```file NAME
is written to NAME first. Every command has to succeed, and the whole in LIMIT seconds.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile

LIMIT = 240
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


def main(readme, binaries):
    text = open(readme, encoding="utf-8").read()
    script = ["set -euo pipefail"]
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, body in BLOCK.findall(text):
            if kind == "python" and name:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(body)
            elif kind == "sh" and body.startswith("# not run here"):
                print("left out:", body.splitlines()[0][2:])
            elif kind == "sh":
                script.append(body)
        if len(script) < 3:
            sys.exit("the README has no commands to run: did its blocks change their form?")
        env = dict(os.environ, PATH=os.path.abspath(binaries) + os.pathsep + os.environ["PATH"])
        run = subprocess.Popen(
            ["bash", "-xc", "\n".join(script)], cwd=folder, env=env, start_new_session=True
        )
        try:
            code = run.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = f"still running after {LIMIT} s"
        finally:
            # The README starts a daemon in the background.
            try:
                os.killpg(run.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        if code != 0:
            sys.exit(f"the README's commands failed: {code}")
    print("the README's commands: all succeeded")


main(*sys.argv[1:])
