//! What may be in force on a host: the ruleset that was, and those of which nobody knows whether they came in force. Pure.

use std::sync::Arc;

use super::content::Content;

/// More than that are not remembered: a host that answers so rarely gets its whole ruleset anew.
const REMEMBERED: usize = 4;

/// Rulesets by their hashes, the newest last.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<Arc<Content>>);

impl Known {
    /// This is in force, and nothing else may be.
    pub(super) fn only(content: Arc<Content>) -> Self {
        Self(vec![content])
    }

    /// This may be in force too.
    pub(super) fn add(&mut self, content: Arc<Content>) {
        self.0.retain(|known| known.hash != content.hash);
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(content);
    }

    /// The one that the hash names.
    pub(super) fn of(&self, hash: &str) -> Option<Arc<Content>> {
        self.0.iter().find(|known| known.hash == hash).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::facts::{Facts, guest};

    fn content(number: u8) -> Arc<Content> {
        let guests = vec![guest(&format!("10.0.0.{number}"), number, None)];
        Arc::new(Facts { guests, ..Facts::default() }.compile().0.content)
    }

    #[test]
    fn the_newest_few_that_may_be_in_force_are_remembered() {
        let all: Vec<_> = (1..=5).map(content).collect();
        let mut known = Known::only(Arc::clone(&all[0]));
        for content in &all[1..] {
            known.add(Arc::clone(content));
            known.add(Arc::clone(content));
        }
        let found = |content: &Arc<Content>| known.of(&content.hash).is_some();
        assert_eq!(all.iter().map(found).collect::<Vec<_>>(), [false, true, true, true, true]);
    }
}
