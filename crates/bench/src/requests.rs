//! What an operator asked agents for, as its own metrics tell.

use std::collections::BTreeMap;
use std::fmt;

use crate::stack::Operator;

const COUNTER: &str = "lochness_agent_requests_total{";

/// How many requests there were, by what they ask for and how they ended: `put_firewall ok`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requests(BTreeMap<String, u64>);

impl Requests {
    /// Those since the operator began.
    pub(crate) async fn of(operator: &Operator) -> anyhow::Result<Self> {
        let (_, page) = operator.page("/metrics").await?;
        Ok(Self::parse(&page))
    }

    fn parse(page: &str) -> Self {
        let lines = page.lines().filter_map(|line| line.strip_prefix(COUNTER)?.split_once("} "));
        let counts = lines.filter_map(|(labels, count)| {
            let values: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
            Some((values.join(" "), count.trim().parse().ok()?))
        });
        Self(counts.collect())
    }

    /// Those that came since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().map(|(what, count)| {
            let earlier = before.0.get(what).copied().unwrap_or_default();
            (what.clone(), count.saturating_sub(earlier))
        });
        Self(counts.filter(|(_, count)| *count > 0).collect())
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_ask_for_and_how_they_ended() {
        let page = "# HELP x\n\
            lochness_agent_requests_total{operation=\"put_firewall\",result=\"ok\"} 7\n\
            lochness_agent_requests_total{operation=\"put_firewall\",result=\"Unknown\"} 2\n\
            lochness_agent_requests_total{operation=\"images\",result=\"ok\"} 3\n";
        let all = Requests::parse(page);
        let before = Requests::parse(page.split_inclusive('\n').next_back().unwrap());
        assert_eq!(all.since(&before).to_string(), "put_firewall Unknown 2, put_firewall ok 7");
    }
}
