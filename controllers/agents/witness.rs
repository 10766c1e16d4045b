//! What agents tell of numbers that were given out before: the proof that a store was rolled back, when it is one.
//!
//! Every epoch, order and firewall revision is a revision of the store. So a number that an agent has seen and that is
//! above what the store has reached comes from another life of it; an epoch above the leader's does, too.

use std::sync::Arc;

use lochness_agent::AgentError;
use lochness_agent::wire::Order;
use lochness_api::HypervisorId;
use tokio::sync::watch;

/// The highest that any agent has told, and whose agent it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Testimony {
    /// Of the epochs of leaders.
    pub epoch: Option<(Order, HypervisorId)>,
    /// Of all numbers.
    pub number: Option<(Order, HypervisorId)>,
}

/// Hears what agents tell, over all terms of the process. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Witness(Arc<watch::Sender<Testimony>>);

impl Witness {
    /// What was told until now, and every later change of it.
    pub fn testimony(&self) -> watch::Receiver<Testimony> {
        self.0.subscribe()
    }

    /// The highest number that was told.
    pub fn highest(&self) -> Option<Order> {
        self.0.borrow().number.map(|(number, _)| number)
    }

    /// Lets what was told be looked into once more.
    pub(super) fn again(&self) {
        self.0.send_modify(|_| {});
    }

    /// Whether something was told that a store which has come to `revision` cannot have given out, or an epoch above
    /// that of the leader.
    pub(crate) fn is_above(&self, epoch: Order, revision: i64) -> bool {
        let told = *self.0.borrow();
        let reached = Order::new(epoch.incarnation, revision.unsigned_abs());
        told.epoch.is_some_and(|(told, _)| told > epoch)
            || told.number.is_some_and(|(told, _)| told > reached)
    }

    /// An agent has shown a number. Whether that is news, here and below.
    pub(super) fn saw(&self, host: HypervisorId, number: Order) -> bool {
        self.hear(host, None, number)
    }

    /// A leader of this epoch has asked an agent for a change.
    pub(crate) fn led_by(&self, host: HypervisorId, epoch: Order) -> bool {
        self.hear(host, Some(epoch), epoch)
    }

    /// An agent has answered a request so.
    pub(super) fn listen(&self, host: HypervisorId, error: &AgentError) -> bool {
        let AgentError::Fenced(message) = error else { return false };
        // Its words end with the number that it compared.
        let told = message.rsplit(' ').next().and_then(|number| number.parse().ok());
        let Some(number) = told else { return false };
        self.hear(host, message.starts_with("epoch").then_some(number), number)
    }

    fn hear(&self, host: HypervisorId, epoch: Option<Order>, number: Order) -> bool {
        self.0.send_if_modified(|told| {
            let before = *told;
            let raise = |highest: Option<(Order, HypervisorId)>, heard: Order| {
                let is_news = highest.is_none_or(|(highest, _)| highest < heard);
                if is_news { Some((heard, host)) } else { highest }
            };
            told.number = raise(told.number, number);
            if let Some(epoch) = epoch {
                told.epoch = raise(told.epoch, epoch);
            }
            *told != before
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_highest_numbers_that_any_agent_has_told_are_remembered() {
        let witness = Witness::default();
        let host = HypervisorId::new(Uuid::from_u128(1));
        let fenced = |text: &str| AgentError::Fenced(text.to_owned());
        witness.listen(host, &fenced("something else"));
        witness.listen(host, &AgentError::NotSent("epoch is below 7.99".to_owned()));
        assert_eq!(*witness.testimony().borrow(), Testimony::default());
        witness.listen(host, &fenced("epoch is below 7.40"));
        witness.listen(host, &fenced("epoch is below 7.20"));
        witness.listen(host, &fenced("order is not above 7.50"));
        witness.saw(host, Order::new(7, 45));
        let told = *witness.testimony().borrow();
        assert_eq!(told.epoch, Some((Order::new(7, 40), host)));
        assert_eq!(told.number, Some((Order::new(7, 50), host)));
        assert_eq!(witness.highest(), Some(Order::new(7, 50)));
    }
}
