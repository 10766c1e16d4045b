//! Single values under `config/`: read, compared, put or deleted in one transaction.

use bytes::Bytes;
use lochness_api::Key;
use lochness_kv::{Compare, KeyValue, Op};

use crate::{Failure, Session};

/// What a value should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// This text.
    Text(String),
    /// Not given.
    Absent,
}

/// Whether anything had to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Something was.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Sets several values at once, or none.
///
/// # Errors
/// When another wrote one of them meanwhile; nothing is written then.
pub(crate) async fn set(session: &Session, wishes: &[(Key, Wish)]) -> Result<Written, Failure> {
    let keys: Vec<Bytes> = wishes.iter().map(|(key, _)| session.key(key)).collect();
    let found = session.read(&keys).await?;
    let mut compares = Vec::new();
    let mut ops = Vec::new();
    for ((key, present), (_, wish)) in keys.iter().zip(&found).zip(wishes) {
        if let Some(op) = write_of(key, present.as_ref(), wish) {
            let revision = present.as_ref().map_or(0, |kv| kv.mod_revision);
            compares.push(Compare::ModRevision(key.clone(), revision));
            ops.push(op);
        }
    }
    if ops.is_empty() {
        return Ok(Written::Unchanged);
    }
    if session.write(compares, ops).await?.succeeded {
        Ok(Written::Changed)
    } else {
        let names: Vec<_> = wishes.iter().map(|(key, _)| key.to_string()).collect();
        Err(Failure::failed(
            format!("somebody else wrote {} at the same moment", names.join(" or ")),
            "look whether it is still wanted, then give the command again",
        ))
    }
}

fn write_of(key: &Bytes, present: Option<&KeyValue>, wish: &Wish) -> Option<Op> {
    match (present, wish) {
        (Some(kv), Wish::Text(text)) if kv.value == text.as_bytes() => None,
        (_, Wish::Text(text)) => Some(Op::put(key.clone(), text.clone())),
        (Some(_), Wish::Absent) => Some(Op::delete(key.clone())),
        (None, Wish::Absent) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lochness_api::Prefix;
    use lochness_kv::MemoryKv;

    use super::*;

    #[tokio::test]
    async fn a_value_that_is_so_already_is_not_written_again() {
        let session = Session::new(Arc::new(MemoryKv::new()), Prefix::default(), "memory");
        let key = Key::Config("pause".into());
        let wish = [(key.clone(), Wish::Text("true".into()))];
        assert_eq!(set(&session, &wish).await.unwrap(), Written::Changed);
        assert_eq!(set(&session, &wish).await.unwrap(), Written::Unchanged);
        let gone = [(key, Wish::Absent)];
        assert_eq!(set(&session, &gone).await.unwrap(), Written::Changed);
        assert_eq!(set(&session, &gone).await.unwrap(), Written::Unchanged);
    }
}
