#!/usr/bin/env bash
# The demo: etcd, two operators, ten simulated hosts and the guests of manifests/examples, on free ports of the loopback.
# In the middle the leading operator is killed while more guests are applied. Ctrl-C ends it and leaves nothing behind.
#
#   deploy/demo.sh           show it, then keep running until Ctrl-C
#   deploy/demo.sh --check   assert every claim, then end; exit code 0 if all hold
#
# LOCHNESS_BIN is the directory of the three programs (default: target/debug). `make demo` builds them first.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LEASE=3 HOSTS=10 EXTRA=10
# What is claimed, in seconds.
readonly UP_WITHIN=10 TAKEOVER_WITHIN=$((LEASE + 5)) SILENT_FOR=5

check=false
[[ ${1:-} == --check ]] && check=true
bin=$(realpath "${LOCHNESS_BIN:-target/debug}")
PATH=$bin:$PATH:/usr/sbin
work=$(mktemp -d "${TMPDIR:-/tmp}/lochness-demo.XXXXXX")
declare -A pids=()

# --- output and cleanup ---

bold='' plain=''
[[ -t 1 ]] && bold=$'\e[1m' plain=$'\e[0m'

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

die() { # what log
    printf '\ndemo: FAILED: %s\n' "$1" >&2
    if [[ -s $work/${2:-none}.log ]]; then
        printf 'demo: the end of the log of %s:\n' "$2" >&2
        tail -n 25 "$work/$2.log" | sed 's/^/    /' >&2
    fi
    exit 1
}

cleanup() {
    local code=$? name
    trap '' INT TERM HUP
    trap - EXIT
    # etcd last, so that the others can take their leave from it.
    for name in operator-a operator-b agents etcd; do
        end "$name" TERM
    done
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'echo; exit 0' INT TERM HUP

start() { # name command...
    local name=$1
    shift
    # In a session of its own: Ctrl-C is for this script, which then ends its parts in order.
    setsid "$@" >>"$work/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

end() { # name signal
    local pid=${pids[$1]:-} tenths
    [[ -n $pid ]] || return 0
    unset "pids[$1]"
    # Otherwise the shell would report how it ended.
    disown "$pid" 2>/dev/null || true
    kill -"$2" "$pid" 2>/dev/null || return 0
    for ((tenths = 0; tenths < 50; tenths++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# --- small things ---

now_ms() { date +%s%3N; }

taken() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

free_port() { # address
    local port
    # Below the ports that outgoing connections take by themselves.
    for _ in {1..100}; do
        port=$((20000 + RANDOM % 12000))
        taken "$1" "$port" || { echo "$port"; return; }
    done
    die "no free port on $1"
}

http_get() { # address port path: the body
    exec 3<>"/dev/tcp/$1/$2" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n' "$3" >&3
    sed '1,/^\r$/d' <&3
    exec 3>&-
}

wait_for() { # seconds what log command...
    local deadline=$(($(now_ms) + $1 * 1000)) what=$2 log=$3
    shift 3
    until "$@" >/dev/null 2>&1; do
        alive "$log"
        (($(now_ms) < deadline)) || die "waited in vain for: $what" "$log"
        sleep 0.1
    done
}

alive() { # name
    [[ -z ${pids[$1]:-} ]] || kill -0 "${pids[$1]}" 2>/dev/null || die "$1 has ended by itself" "$1"
}

revision() { etcdctl get lochness/ -w json | sed -E 's/.*"revision":([0-9]+).*/\1/'; }

leader() { # the name of the operator that leads
    local name
    for name in operator-a operator-b; do
        if [[ -n ${pids[$name]:-} && $(http_get 127.0.0.1 "${port[$name]}" /readyz 2>/dev/null) == "ok: leading"* ]]; then
            echo "$name"
            return
        fi
    done
    return 1
}

guests() { lochnessctl get guests; }

count() { # phase, of the guests on standard input
    awk -v phase="$1" 'NR > 1 && $3 == phase { n++ } END { print n + 0 }'
}

# Every guest as its document wants it: two of the examples are meant to be stopped.
readonly STOPPED=2
settled() { # guests
    local table
    table=$(guests) || return 1
    (($(count Running <<<"$table") == $1 - STOPPED && $(count Stopped <<<"$table") == STOPPED))
}

# Waits for guests, drawing one line over and over where somebody watches.
watch_guests() { # guests seconds
    local began deadline table line
    began=$(now_ms) deadline=$((began + $2 * 1000))
    while :; do
        table=$(guests 2>/dev/null || true)
        line=$(awk 'NR > 1 { n[$3 == "-" ? "waiting" : $3]++ } END { for (p in n) printf "  %d %s", n[p], p }' <<<"$table")
        [[ -t 1 ]] && printf '\r\e[K  %5s ms: %s' $(($(now_ms) - began)) "$line"
        settled "$1" && break
        if (($(now_ms) >= deadline)); then
            printf '\n%s\n' "$table"
            die "after $2 s not all of $1 guests are as wanted" "$(leader || echo operator-b)"
        fi
        sleep 0.2
    done
    took=$(($(now_ms) - began))
    [[ -t 1 ]] && printf '\r\e[K'
    printf '  all %d guests are as wanted after %d.%01d s\n' "$1" $((took / 1000)) $((took % 1000 / 100))
}

mutations() { # of all hosts together: requests that asked an agent for a change
    local host sum=0 n
    for ((host = 0; host < HOSTS; host++)); do
        n=$(http_get "$agent_net.$((host + 1))" "$agent_port" /simulated/stats |
            sed -nE 's/.*"mutations":([0-9]+).*/\1/p')
        [[ -n $n ]] || die "host $((host + 1)) does not tell its statistics" agents
        sum=$((sum + n))
    done
    echo "$sum"
}

# --- the parts ---

start_etcd() {
    local client peer
    client=$(free_port 127.0.0.1) peer=$(free_port 127.0.0.1)
    export LOCHNESS_ETCD=http://127.0.0.1:$client ETCDCTL_API=3 ETCDCTL_ENDPOINTS=http://127.0.0.1:$client
    start etcd etcd --name demo --data-dir "$work/etcd" --unsafe-no-fsync --logger zap \
        --listen-client-urls "$LOCHNESS_ETCD" --advertise-client-urls "$LOCHNESS_ETCD" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "demo=http://127.0.0.1:$peer"
    wait_for 10 "etcd to answer" etcd etcdctl endpoint health
}

write_settings() {
    cat >"$work/operator.toml" <<TOML
# A demo is impatient; the defaults suit production.
lease = "${LEASE}s"
[tuning]
rescan = "1s"
startup_grace = "3s"
TOML
}

start_operator() { # name
    start "$1" lochness-operator --config "$work/operator.toml" --listen "127.0.0.1:${port[$1]}" --identity "$1"
    wait_for 15 "$1 to be ready" "$1" is_ready "$1"
}

is_ready() { [[ $(http_get 127.0.0.1 "${port[$1]}" /readyz) == ok* ]]; }

start_agents() {
    agent_net=127.$((64 + RANDOM % 64)).$((RANDOM % 255))
    agent_port=$(free_port "$agent_net.1")
    start agents lochness-agent --hosts "$HOSTS" --name-pattern host-%02d --driver simulated \
        --address-base "$agent_net.1" --port "$agent_port" --state-dir "$work/agents" \
        --create-delay 300 --start-delay 100 --jitter 500
    wait_for 15 "all hosts to register" agents registered
}

registered() { (($(etcdctl get --prefix lochness/hypervisors/ --keys-only | grep -c /heartbeat) == HOSTS)); }

write_extra_guests() {
    local n
    for ((n = 1; n <= EXTRA; n++)); do
        printf -- '---\napiVersion: lochness/v1\nkind: Guest\nmetadata: {name: extra-%02d, labels: {app: extra}}\n' "$n"
        printf 'spec: {flavor: tiny, network: prod, fwgroup: web}\n'
    done >"$work/extra.yaml"
}

# --- the claims ---

addresses_are_distinct() {
    local table doubled missing
    table=$(guests)
    missing=$(awk 'NR > 1 && $5 == "-"' <<<"$table")
    [[ -z $missing ]] || die "guests without an address: $missing"
    doubled=$(awk 'NR > 1 { print $5 }' <<<"$table" | sort | uniq -d)
    [[ -z $doubled ]] || die "addresses that two guests have: $doubled"
    echo "  every guest has an address of its own"
}

silence() {
    local before seen tries mutated
    # What was under way comes to its end first: two equal readings, two seconds apart.
    seen=0
    for ((tries = 0; tries < 15; tries++)); do
        before=$(revision)
        [[ $before == "$seen" ]] && break
        seen=$before
        sleep 2
    done
    [[ $before == "$seen" ]] || die "etcd is still written to half a minute after everything was up: $(recent "$seen")"
    mutated=$(mutations)
    sleep "$SILENT_FOR"
    [[ $(revision) == "$before" ]] || die "etcd was written to although nothing was to be done: $(recent "$((before + 1))")"
    [[ $(mutations) == "$mutated" ]] || die "an agent was asked for a change although nothing was to be done" agents
    echo "  for $SILENT_FOR s nobody wrote to etcd and no agent was asked for a change"
}

recent() { # revision: what was written since
    timeout 1 etcdctl watch --prefix '' --rev "$1" 2>/dev/null | head -c 1500 || true
}

# --- the story ---

for program in lochness-operator lochness-agent lochnessctl etcd etcdctl; do
    command -v "$program" >/dev/null || die "$program is not there: run make setup, then make demo"
done
declare -A port=([operator-a]=$(free_port 127.0.0.1) [operator-b]=$(free_port 127.0.0.1))

say "1. etcd, two operators, $HOSTS simulated hosts"
write_settings
start_etcd
start_operator operator-a
start_operator operator-b
start_agents
wait_for 15 "a leader" operator-a leader
first=$(leader)
echo "  $first leads, the other one stands by; logs are in $work"

say "2. lochnessctl apply -f manifests/examples: networks, subnets, images, flavors, firewall groups, 30 guests"
lochnessctl apply -f manifests/examples >"$work/apply.log" 2>&1 || die "lochnessctl apply failed" apply
total=$(lochnessctl get guests -o name | wc -l)
watch_guests "$total" "$UP_WITHIN"
addresses_are_distinct
$check || guests

say "3. $EXTRA more guests are applied, and the leading operator is killed (SIGKILL) in the middle"
write_extra_guests
lochnessctl apply -f "$work/extra.yaml" >"$work/apply.log" 2>&1 &
applying=$!
end "$first" KILL
wait "$applying" || die "lochnessctl apply failed" apply
total=$((total + EXTRA))
watch_guests "$total" "$TAKEOVER_WITHIN"
second=$(leader) || die "nobody leads" operator-b
[[ $second != "$first" ]] || die "$first leads although it was killed"
echo "  $second took over when the lease of ${LEASE} s had ended; the limit is lease + 5 s"
addresses_are_distinct
start_operator "$first"
echo "  $first is back and stands by"

say "4. Converged means silent"
silence

if $check; then
    say "demo-check: everything that was claimed holds"
    exit 0
fi

say "It keeps running until Ctrl-C. In another terminal:"
cat <<TEXT
  export LOCHNESS_ETCD=$LOCHNESS_ETCD PATH=$bin:\$PATH
  lochnessctl get guests                     # or hypervisors, subnets, jobs, events, cluster
  lochnessctl describe guest web-01
  lochnessctl delete guest lab-01 --wait
  etcdctl --endpoints $LOCHNESS_ETCD get --prefix lochness/status/ --keys-only
  curl http://127.0.0.1:${port[$second]}/metrics
TEXT
while :; do
    for name in "${!pids[@]}"; do
        alive "$name"
    done
    sleep 1 &
    wait $! || true
done
