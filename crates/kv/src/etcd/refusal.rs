//! What an error of etcd says about the operation: did it happen, can it have, what can the caller do.
//!
//! The rule: an operation did not happen only where etcd says so itself, by a message that it gives before it proposes
//! the operation to its members or instead of applying it, or where no connection was made. Everything else may have
//! happened, whatever its gRPC code: proxies, resets and shutdowns use the same codes.

use std::error::Error;

use crate::KvError;

/// gRPC's numbers, as far as they decide anything.
const OUT_OF_RANGE: i32 = 11;
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const UNAUTHENTICATED: i32 = 16;

/// What our own gRPC library says of an answer above its limit.
const ANSWER_TOO_LARGE: &str = "decoded message length too large";

/// A failed call, as gRPC describes it.
pub(super) struct Refusal<'a> {
    /// gRPC's number.
    pub(super) code: i32,
    /// The message, of etcd if it begins with `etcdserver: `.
    pub(super) message: &'a str,
    /// Whether no connection could be made, so that nothing was sent.
    pub(super) unsent: bool,
    /// What lies under it: why there was no connection, for people.
    pub(super) source: Option<&'a (dyn Error + 'static)>,
}

impl Refusal<'_> {
    /// What the caller is told.
    pub(super) fn into_error(self) -> KvError {
        if self.unsent {
            return KvError::Unavailable(self.text());
        }
        match self.message.strip_prefix("etcdserver: ") {
            Some(reason) => self.by_etcd(reason),
            None => self.by_transport(),
        }
    }

    fn by_etcd(&self, reason: &str) -> KvError {
        match reason {
            // Checked before anything is proposed: by require-leader, by the bound on what waits to be applied, by the
            // version and role of the member, by the revision of the users' rights. The alarm CORRUPT replaces the
            // applying of everything.
            "no leader"
            | "too many requests"
            | "not capable"
            | "rpc not supported for learner"
            | "revision of auth store is old"
            | "corrupt cluster" => KvError::Unavailable(self.text()),
            "mvcc: database space exceeded" => KvError::NoSpace,
            "request is too large" | "too many operations in txn request" => {
                KvError::TooLarge(reason.to_owned())
            }
            "requested lease not found" => KvError::LeaseNotFound,
            "mvcc: required revision has been compacted" => KvError::Compacted(0),
            // The remaining refusals of these kinds are made by looking at the request alone, or at users and roles.
            _ => match self.code {
                PERMISSION_DENIED | UNAUTHENTICATED => KvError::PermissionDenied(reason.to_owned()),
                INVALID_ARGUMENT if is_about_users(reason) => {
                    KvError::PermissionDenied(reason.to_owned())
                }
                INVALID_ARGUMENT | OUT_OF_RANGE => KvError::Invalid(reason.to_owned()),
                // `request timed out` and its relatives: proposed, and perhaps applied after the member gave up
                // waiting. `leader changed`, `server stopped`: the same, cut short. And what is new to us.
                _ => KvError::Unknown(self.text()),
            },
        }
    }

    fn by_transport(&self) -> KvError {
        // The server reads a whole request before it handles it, and this is its limit.
        if self.message.contains("received message larger than max") {
            return KvError::TooLarge(self.message.to_owned());
        }
        // A deadline, a reset, a shutdown (GOAWAY), a proxy's 503: the request may have been handled.
        KvError::Unknown(self.text())
    }

    /// Whether the answer came and was too large for us: a read may ask for less, a write has happened.
    pub(super) fn answer_is_too_large(&self) -> bool {
        self.message.contains(ANSWER_TOO_LARGE)
    }

    /// The message and all that lies under it.
    fn text(&self) -> String {
        let mut text = self.message.to_owned();
        let mut source = self.source;
        while let Some(error) = source {
            let cause = error.to_string();
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
            source = error.source();
        }
        text
    }
}

/// Refusals of a user or a password that etcd gives as invalid arguments.
fn is_about_users(reason: &str) -> bool {
    ["auth", "user", "password", "role"].iter().any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAVAILABLE: i32 = 14;
    const RESOURCE_EXHAUSTED: i32 = 8;

    fn error(code: i32, message: &str) -> KvError {
        Refusal { code, message, unsent: false, source: None }.into_error()
    }

    #[test]
    fn etcd_says_itself_that_it_did_nothing_without_a_leader() {
        assert!(matches!(error(UNAVAILABLE, "etcdserver: no leader"), KvError::Unavailable(_)));
        let busy = error(RESOURCE_EXHAUSTED, "etcdserver: too many requests");
        assert!(matches!(busy, KvError::Unavailable(_)));
    }

    #[test]
    fn a_code_alone_never_says_that_nothing_happened() {
        for code in 1..=16 {
            for message in ["", "transport is closing", "upstream connect error", "etcdserver: new"]
            {
                let known_by_etcd = [PERMISSION_DENIED, UNAUTHENTICATED, INVALID_ARGUMENT];
                if message.starts_with("etcdserver")
                    && (known_by_etcd.contains(&code) || code == OUT_OF_RANGE)
                {
                    continue;
                }
                assert!(error(code, message).is_unknown_outcome(), "{code} {message}");
            }
        }
    }

    #[test]
    fn what_was_proposed_may_have_happened_when_its_member_stops_waiting() {
        for reason in [
            "request timed out",
            "request timed out, possibly due to previous leader failure",
            "request timed out, possibly due to connection lost",
            "leader changed",
            "server stopped",
        ] {
            let error = error(UNAVAILABLE, &format!("etcdserver: {reason}"));
            assert!(error.is_unknown_outcome(), "{reason}");
        }
    }

    #[test]
    fn what_could_not_be_sent_did_not_happen() {
        let refusal =
            Refusal { code: 14, message: "tcp connect error", unsent: true, source: None };
        assert!(matches!(refusal.into_error(), KvError::Unavailable(_)));
    }

    #[test]
    fn a_wrong_password_is_a_matter_of_rights() {
        let message = "etcdserver: authentication failed, invalid user ID or password";
        assert!(matches!(error(INVALID_ARGUMENT, message), KvError::PermissionDenied(_)));
    }
}
