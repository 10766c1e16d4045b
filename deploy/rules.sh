#!/usr/bin/env bash
# What Prometheus itself says of the files in deploy/prometheus.
set -euo pipefail
cd "$(dirname "$0")/prometheus"

promtool check config --syntax-only prometheus.yml
promtool check rules lochness.rules.yml
promtool test rules lochness.rules.test.yml
