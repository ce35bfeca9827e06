#!/usr/bin/env bash
# The Autobahn fuzzing client against the transport's WebSocket code, behind an echo handler that only tests have.
# Installs autobahntestsuite 0.8.2 into target/autobahn when a Python 2.7 is there (PYTHON27 names one), and says so when not.
set -euo pipefail
cd "$(dirname "$0")/.."
at=127.0.0.1:${PORT:-19001}
work=${CARGO_TARGET_DIR:-target}/autobahn
python=${PYTHON27:-$(command -v python2.7 || true)}
if ! [ -x "$work/bin/wstest" ]; then
    if [ -z "$python" ] || ! "$python" --version >/dev/null 2>&1; then
        echo "LEFT OUT: no Python 2.7 here, which autobahntestsuite 0.8.2 needs (set PYTHON27)"
        exit 0
    fi
    "$python" -m pip install --quiet --user virtualenv || "$python" -m pip install --quiet virtualenv
    "$python" -m virtualenv --quiet "$work"
    "$work/bin/pip" install --quiet autobahntestsuite==0.8.2
fi
cargo test --lib --no-run
RIGMESH_ECHO=$at cargo test --lib -- --ignored --exact runtime::net::echo::serve_for_the_fuzzing_client > "$work/server.log" 2>&1 &
server=$!
trap 'pkill -P $server 2>/dev/null || true; kill $server 2>/dev/null || true' EXIT
for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/${at%:*}/${at#*:}") 2>/dev/null && break
    sleep 0.1
done
cat > "$work/spec.json" <<JSON
{"outdir": "$work/reports", "servers": [{"agent": "rigmesh", "url": "ws://$at/ws"}],
 "cases": ["*"], "exclude-cases": [], "exclude-agent-cases": {}}
JSON
"$work/bin/wstest" -m fuzzingclient -s "$work/spec.json" > "$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
python3 - "$work/reports/index.json" <<'PY'
import collections, json, sys
cases = json.load(open(sys.argv[1]))["rigmesh"]
count = collections.Counter(case["behavior"] for case in cases.values())
closing = collections.Counter(case["behaviorClose"] for case in cases.values())
failed = [name for name, case in cases.items() if "FAILED" in (case["behavior"], case["behaviorClose"])]
print(len(cases), "cases:", dict(count), "closing:", dict(closing))
print("failed:", failed or "none")
sys.exit(1 if failed else 0)
PY
