//! Answers that are none: what a proxy, a broken agent or a stranger sends.

use bytes::Bytes;
use http::{Response, StatusCode};
use lochness_agent::TransportError;

use crate::course::Course;
use crate::faults::Fault;

/// Brackets of the nested answer: parsers that recurse end here.
const DEPTH: usize = 100_000;

/// What comes instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoiled {
    /// An error; the request never arrived.
    Refused,
    /// An error; the request was carried out.
    CarriedOut,
    /// Half of it.
    Truncated,
    /// Brackets.
    Nested,
    /// More than anybody reads.
    Enormous,
    /// A redirect; the request never arrived.
    Redirect,
}

impl Spoiled {
    /// What the history has for this answer, if anything.
    pub(crate) fn draw(course: &Course, what: impl Fn() -> String) -> Option<Self> {
        let profile = &course.profile.network;
        let strikes = |class, permille| course.faults(class, permille, &what);
        if strikes(Fault::ServerError, profile.server_error) {
            return Some(course.pick(&[Self::Refused, Self::CarriedOut]));
        }
        let drawn = [
            (Fault::Truncated, profile.truncated, Self::Truncated),
            (Fault::Nested, profile.nested, Self::Nested),
            (Fault::Enormous, profile.enormous, Self::Enormous),
            (Fault::Redirect, profile.redirect, Self::Redirect),
        ];
        let drawn = drawn.into_iter().find(|(class, permille, _)| strikes(*class, *permille));
        drawn.map(|(.., spoiled)| spoiled)
    }

    /// The answer of somebody who does not let the request through.
    pub(crate) fn refusal(self) -> Option<Response<Bytes>> {
        let status = match self {
            Self::Refused => StatusCode::SERVICE_UNAVAILABLE,
            Self::Redirect => StatusCode::MOVED_PERMANENTLY,
            Self::CarriedOut | Self::Truncated | Self::Nested | Self::Enormous => return None,
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        if self == Self::Redirect {
            let elsewhere = http::HeaderValue::from_static("http://192.0.2.254:9/elsewhere");
            response.headers_mut().insert(http::header::LOCATION, elsewhere);
        }
        Some(response)
    }

    /// What becomes of the true answer.
    pub(crate) fn spoil(
        self,
        answer: Result<Response<Bytes>, TransportError>,
    ) -> Result<Response<Bytes>, TransportError> {
        let mut response = answer?;
        match self {
            Self::Refused | Self::Redirect => {}
            Self::CarriedOut => {
                let mut error = Response::new(Bytes::new());
                *error.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response = error;
            }
            Self::Truncated => {
                let body = response.body().slice(..response.body().len() / 2);
                *response.body_mut() = body;
            }
            Self::Nested => *response.body_mut() = Bytes::from(vec![b'['; DEPTH]),
            // The transport reads no more than its limit, and then gives the answer up.
            Self::Enormous => return Err(TransportError::Unknown("body is too large".to_owned())),
        }
        Ok(response)
    }
}
