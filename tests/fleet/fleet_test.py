#!/usr/bin/env python3
"""The files of docs/fleet against the demo, a real Prometheus and promtool.

usage: fleet_test.py FLEET DEMO ENVIRONMENT
FLEET: docs/fleet. DEMO: vigil-demo. ENVIRONMENT: the source file that knows the VIGIL_* variables.
"""

import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import yaml

FLEET, DEMO, ENVIRONMENT = (pathlib.Path(argument) for argument in sys.argv[1:4])
WAIT_SECONDS = 60
METRIC = re.compile(r"\b(?:vigil|process)_[a-z0-9_]+")


def get(url, timeout=20):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def until(what, look):
    """look()'s first answer that is true; asked again while it raises or is not."""
    deadline = time.monotonic() + WAIT_SECONDS
    last = None
    while time.monotonic() < deadline:
        try:
            last = look()
            if last:
                return last
        except (urllib.error.URLError, ConnectionError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {WAIT_SECONDS} s; last: {last}")


def families(metrics):
    """The names that a query may have: families, and the series of histograms."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", metrics, re.MULTILINE):
        names.add(name)
        if kind == "histogram":
            names.update(f"{name}_{part}" for part in ("bucket", "sum", "count"))
    return names


def metrics_in(expression):
    return set(METRIC.findall(re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)))


def dashboard_queries():
    dashboard = json.loads((FLEET / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


class Fleet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vigil-fleet-"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        cls.demo = cls.start(DEMO, "--listen=127.0.0.1:0", "--debug=127.0.0.1:0", "--stuck-after=1s",
                             stdout=subprocess.PIPE, text=True)
        lines = [cls.demo.stdout.readline() for _ in range(2)]
        cls.app, cls.debug = (line.split()[-1] for line in lines)
        get(f"http://{cls.app}/hello")

    @classmethod
    def start(cls, *command, **options):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)

        def end():
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

        cls.addClassCleanup(end)
        return process

    def promtool(self, *arguments):
        done = subprocess.run(("promtool",) + arguments, cwd=FLEET, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_promtool_accepts_configuration_and_rules(self):
        self.promtool("check", "config", "prometheus.yml")
        self.promtool("test", "rules", "alerts_test.yml")

    def test_every_alert_has_a_rule_test(self):
        rules = yaml.safe_load((FLEET / "alerts.yml").read_text())
        tests = yaml.safe_load((FLEET / "alerts_test.yml").read_text())
        fires = {case["alertname"] for group in tests["tests"] for case in group["alert_rule_test"]
                 if case["exp_alerts"]}
        self.assertEqual({rule["alert"] for group in rules["groups"] for rule in group["rules"]}, fires)

    def test_every_metric_is_there(self):
        known = families(get(f"http://{self.debug}/metrics"))
        rules = yaml.safe_load((FLEET / "alerts.yml").read_text())
        asked = {rule["alert"]: metrics_in(rule["expr"]) for group in rules["groups"] for rule in group["rules"]}
        for title, query in dashboard_queries():
            asked.setdefault(title, set()).update(metrics_in(query))
        for who, names in asked.items():
            with self.subTest(who):
                self.assertTrue(names)
                self.assertEqual(names - known, set())

    def start_prometheus(self):
        """With the shipped configuration, but for the server's address and the time between scrapes."""
        config = yaml.safe_load((FLEET / "prometheus.yml").read_text())
        self.assertEqual(config["scrape_configs"][0]["static_configs"][0]["targets"], ["127.0.0.1:6060"])
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [self.debug]
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (self.work / "prometheus.yml").write_text(yaml.safe_dump(config))
        shutil.copy(FLEET / "alerts.yml", self.work)
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = "127.0.0.1:%d" % free.getsockname()[1]
        self.start("prometheus", f"--config.file={self.work}/prometheus.yml",
                   f"--storage.tsdb.path={self.work}/data", f"--web.listen-address={address}")
        return lambda page, **query: json.loads(
            get(f"http://{address}/api/v1/{page}?{urllib.parse.urlencode(query)}"))["data"]

    def test_prometheus_scrapes_evaluates_and_alerts(self):
        prometheus = self.start_prometheus()
        until("Prometheus to scrape the demo",
              lambda: [each for each in prometheus("query", query="up")["result"] if each["value"][1] == "1"])
        target = prometheus("targets")["activeTargets"][0]
        self.assertEqual((target["health"], target["lastError"]), ("up", ""))
        for title, query in dashboard_queries():
            with self.subTest(title):
                prometheus("query", query=query)  # raises on 400

        def stuck_request():
            try:
                get(f"http://{self.app}/stuck", timeout=WAIT_SECONDS)
            except OSError:
                pass  # released, or the demo has ended

        threading.Thread(target=stuck_request, daemon=True).start()
        alert = until("the alert for the stuck handler", lambda: prometheus("alerts")["alerts"])[0]
        self.assertEqual(alert["labels"]["alertname"], "HandlersStuck")
        self.assertEqual(alert["state"], "pending")
        self.assertIn("1 handlers of " + self.debug, alert["annotations"]["summary"])
        urllib.request.urlopen(urllib.request.Request(f"http://{self.app}/release", method="POST"), timeout=20).close()
        until("the alert's end", lambda: not prometheus("alerts")["alerts"])

    def check_page(self, path):
        with urllib.request.urlopen(f"http://{self.debug}{path}", timeout=30) as answer:
            self.assertEqual(answer.headers["Content-Type"], "application/octet-stream", path)
            self.assertEqual(answer.read()[:2], b"\x1f\x8b", path)

    def test_parca_scrapes_pages_that_exist(self):
        job = yaml.safe_load((FLEET / "parca.yaml").read_text())["scrape_configs"][0]
        seconds = {key: int(job[key].rstrip("s")) for key in ("scrape_interval", "scrape_timeout")}
        self.assertGreaterEqual(seconds["scrape_timeout"], seconds["scrape_interval"] + 3)
        for profile in job["profiling_config"]["pprof_config"].values():
            self.check_page(profile["path"] + ("?seconds=1" if profile.get("delta") else ""))

    def test_alloy_enables_profiles_that_exist(self):
        pages = {"process_cpu": "/debug/pprof/profile?seconds=1", "memory": "/debug/pprof/allocs",
                 "mutex": "/debug/pprof/mutex", "block": "/debug/pprof/block", "goroutine": "/debug/pprof/goroutine",
                 "fgprof": "/debug/fgprof?seconds=1"}
        text = (FLEET / "config.alloy").read_text()
        enabled = re.findall(r"profile\.(\w+)\s*\{ enabled = true \}", text)
        self.assertEqual(set(enabled), set(pages))
        self.assertEqual(text.count("{"), text.count("}"))
        for name in enabled:
            self.check_page(pages[name])

    def test_the_other_files_are_what_they_say(self):
        job = yaml.safe_load((FLEET / "pyroscope.yml").read_text())["scrape-configs"][0]
        self.assertEqual(job["static-configs"][0]["targets"], ["127.0.0.1:6060"])
        pod = yaml.safe_load((FLEET / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
        server = next(each for each in pod["containers"] if each["name"] == "search")
        variables = {each["name"]: each["value"] for each in server["env"]}
        self.assertEqual(variables.pop("LD_PRELOAD"), "/vigil/libvigil_agent.so")
        self.assertEqual(set(variables) - set(re.findall(r'"(VIGIL_\w+)"', ENVIRONMENT.read_text())), set())

    # In Debian's kubernetes-client, which is large and collides with the same program from elsewhere: not asked for.
    @unittest.skipUnless(shutil.which("kubectl"), "no kubectl")
    def test_kubectl_knows_every_field_of_the_pod(self):
        def kubectl(text):
            done = subprocess.run(("kubectl", "set", "env", "--local", "-f", "-", "-o", "json", "TEST=1"), input=text,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)

        def missing(wanted, got, path=""):
            """What kubectl has dropped, because it does not know it."""
            if isinstance(wanted, dict):
                return [name for key in wanted for name in
                        (missing(wanted[key], got[key], f"{path}.{key}") if key in got else [f"{path}.{key}"])]
            if isinstance(wanted, list):
                return [name for index, pair in enumerate(zip(wanted, got)) for name in missing(*pair, f"{path}[{index}]")]
            return []

        text = (FLEET / "kubernetes.yaml").read_text()
        self.assertEqual(missing(yaml.safe_load(text), kubectl(text)), [])
        wrong = text.replace("mountPath: /etc/alloy,", "mountPoint: /etc/alloy,")
        self.assertEqual(missing(yaml.safe_load(wrong), kubectl(wrong)),
                         [".spec.template.spec.containers[1].volumeMounts[0].mountPoint"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
