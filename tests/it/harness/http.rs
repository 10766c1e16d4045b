//! Reading a page of one of our processes.

use std::time::Duration;

use bytes::Bytes;

/// A process that is frozen or silent is given up on.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Status code and body of a page.
pub(crate) async fn get(url: &str) -> Result<(u16, Bytes), String> {
    // A second installation is refused, and not needed.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build();
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.get(url).send().await.map_err(|error| error.to_string())?;
    let code = answer.status().as_u16();
    Ok((code, answer.bytes().await.map_err(|error| error.to_string())?))
}
