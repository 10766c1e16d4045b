//! An operator's wire on which a plan lets a request for a change reach its agent a second time, much later, and on which
//! nobody asks for a change while another one leads (S7).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use lochness_agent::{Transport, TransportError};
use lochness_api::Key;

use crate::network::Wire;
use crate::points::{Occasion, Points, Strike};

/// The second time comes when what followed the first is under way or over.
const SECOND_AFTER: Duration = Duration::from_secs(30);

/// One operator's end of the network.
pub(crate) struct Repeated {
    pub(crate) wire: Wire,
    pub(crate) points: Arc<Points>,
}

impl Repeated {
    fn check_leads(&self, request: &Request<Bytes>) {
        let (judge, name) = (&self.wire.network.judge, self.wire.life.name);
        judge.catch_up();
        let leader = judge.look(|checker| checker.value(&Key::Leader).map(<[u8]>::to_vec));
        if leader.as_deref().is_some_and(|leader| leader != name.as_bytes()) {
            let what = format!("{} {}", request.method(), request.uri());
            judge.wrong(format!("S7: {name} asks {what} while another one leads"));
        }
    }
}

#[async_trait]
impl Transport for Repeated {
    async fn round_trip(
        &self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let mutates = request.method() != Method::GET;
        if mutates && self.points.is_planned() {
            self.check_leads(&request);
        }
        if mutates && let Some(Strike::Twice(_)) = self.points.meets(Occasion::Request) {
            let _nobody_waits = self.wire.network.deliver(request.clone(), SECOND_AFTER);
        }
        self.wire.round_trip(request, patience).await
    }
}
