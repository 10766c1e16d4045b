//! What the server says of itself, and what a person should hear of it.

use crate::Header;

/// What the server says of itself: for `status/cluster`, for metrics and for the check at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// The server's version, such as `3.4.23`.
    pub version: String,
    /// Bytes that the database occupies.
    pub db_size: i64,
    /// Whether a `NOSPACE` alarm is raised anywhere in the cluster.
    pub no_space: bool,
    /// Id of the cluster and revision at the time of the answer.
    pub header: Header,
}

impl ServerStatus {
    /// What a person should know before relying on this server; empty when there is nothing to say.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.no_space {
            warnings.push(
                "etcd is out of space (NOSPACE alarm): nothing can be written until somebody compacts, defragments \
                 and disarms it, or raises its quota"
                    .to_owned(),
            );
        }
        warnings.extend(self.version_warning());
        warnings
    }

    fn version_warning(&self) -> Option<String> {
        let mut numbers =
            self.version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next()?, numbers.next()?, numbers.next()?);
        let what = if version < (3, 4, 0) {
            "is older than 3.4 and not supported"
        } else if version < (3, 5, 0) {
            "is past its end of life: stale reads after a pause and keepalives answered for revoked leases are not \
             fixed there, and roles by prefix do not bind nested transactions (CVE-2026-33343)"
        } else if version < (3, 5, 33) || ((3, 6, 0)..(3, 6, 14)).contains(&version) {
            "does not bind nested transactions by roles on a prefix (CVE-2026-33343)"
        } else {
            return None;
        };
        Some(format!("etcd {} {what}: run 3.6.14 or 3.5.33, or newer", self.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(version: &str) -> usize {
        let status = ServerStatus {
            version: version.to_owned(),
            db_size: 0,
            no_space: false,
            header: Header::default(),
        };
        status.warnings().len()
    }

    #[test]
    fn versions_with_known_holes_are_named_and_fixed_ones_are_not() {
        for old in ["2.3.8", "3.3.27", "3.4.23", "3.5.0", "3.5.32", "3.6.0", "3.6.13-rc.1"] {
            assert_eq!(warnings(old), 1, "{old}");
        }
        for fixed in ["3.5.33", "3.6.14", "3.7.0", "4.0.0", "memory", ""] {
            assert_eq!(warnings(fixed), 0, "{fixed}");
        }
    }

    #[test]
    fn a_raised_alarm_is_a_warning() {
        let status = ServerStatus {
            version: "3.6.14".to_owned(),
            db_size: 0,
            no_space: true,
            header: Header::default(),
        };
        assert!(status.warnings()[0].contains("NOSPACE"));
    }
}
