//! Which images a host still needs, and what to do about each. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_agent::wire::ImageFetch;
use lochness_api::document::Image;
use lochness_api::status::Phase;
use lochness_api::{GuestId, ImageId};
use tokio::time::Instant;

use crate::reports::ImageState;
use crate::settings::Settings;
use crate::world::{HostEntry, World};

/// The sub-agent that uses the images.
const IMAGE_TYPE: &str = "kvm";

/// Why an image without a document does not come.
const NO_DOCUMENT: &str = "there is no image document that says where it is";

/// So long after its begin, a fetch whose answer was lost is looked for among the agent's jobs. If it arrives still later,
/// the image is fetched twice.
pub(super) const EAGER: Duration = Duration::from_secs(10);

/// The first wait between two questions how far a fetch is; then it is the fetch's age, from
/// [`Settings::list_interval_busy`] on half of it, up to [`Settings::list_interval`]. A small image is there at once, and all
/// its guests wait for it; a large one may be on its way to a thousand hosts, each of which is asked.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(20);

/// A fetch that has brought nothing for so long has failed. Images have gigabytes.
pub(super) const FETCH_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// An image that guests on a host need and that the host does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub image: ImageId,
    /// Why it is not there.
    pub lack: Lack,
}

/// Why an image is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Nobody asked for it yet.
    NotFetched(ImageFetch),
    /// It is on its way.
    Fetching,
    /// The newest fetch failed, as these words say.
    Failed(String),
    /// No document says where it is, so that it cannot be fetched.
    NoDocument,
}

/// A fetch as this process remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    /// Fetches that failed one after the other.
    pub(super) failures: u32,
    /// When it began, or failed.
    pub(super) since: Instant,
    /// When the agent was last asked how far it is.
    pub(super) looked_at: Instant,
    /// The agent's id of the job, if its answer arrived.
    pub(super) remote: Option<String>,
}

/// What to do about a missing image now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for it.
    Fetch(ImageFetch),
    /// See whether it is there.
    Look,
    /// It has taken too long.
    GiveUp,
    /// It failed lately.
    Wait(Duration),
    /// Nothing can be done but to say so.
    Say(&'static str),
}

/// The images that placements on the host need and that `images`, the host's own list, lacks.
pub fn missing_images(
    world: &World,
    entry: &HostEntry,
    images: &BTreeMap<ImageId, ImageState>,
) -> Vec<Missing> {
    let missing =
        |image: ImageId| Some(Missing { image, lack: lack(world, image, images.get(&image))? });
    entry.images.keys().copied().filter_map(missing).collect()
}

/// The image that a placed guest needs.
pub(super) fn needs(world: &World, guest: GuestId) -> Option<ImageId> {
    if world.outline(guest)?.phase() == Some(Phase::Deleting) {
        return None;
    }
    world.placement_of(guest)?.image
}

fn lack(world: &World, image: ImageId, state: Option<&ImageState>) -> Option<Lack> {
    let document = world.image(image).and_then(|declared| declared.understood.as_deref());
    match (state, document) {
        (Some(ImageState::Present), _) => None,
        (Some(ImageState::Fetching(_)), _) => Some(Lack::Fetching),
        (_, None) => Some(Lack::NoDocument),
        (Some(ImageState::Failed(words)), Some(_)) => Some(Lack::Failed(words.clone())),
        (None, Some(document)) => Some(Lack::NotFetched(fetch(document))),
    }
}

fn fetch(image: &Image) -> ImageFetch {
    ImageFetch {
        id: image.id,
        image_type: IMAGE_TYPE.to_owned(),
        source: image.source.clone(),
        sha256: image.sha256.clone(),
    }
}

/// What to do about a missing image, given the last fetch of it that this process remembers.
pub(super) fn step(
    world: &World,
    missing: &Missing,
    last: Option<&Fetch>,
    now: Instant,
    settings: &Settings,
) -> Step {
    let passed = last.map(|fetch| now.saturating_duration_since(fetch.since));
    match &missing.lack {
        Lack::NoDocument => Step::Say(NO_DOCUMENT),
        Lack::NotFetched(fetch) => Step::Fetch(fetch.clone()),
        // It was forgotten while nobody needed the image, and nobody knows how it ended.
        Lack::Fetching if last.is_none() => again(world, missing.image, Duration::ZERO),
        Lack::Fetching if passed.is_some_and(|passed| passed >= FETCH_DEADLINE) => Step::GiveUp,
        // Each guest that is placed on the host wakes it: the agent is asked no more often for that.
        Lack::Fetching => {
            let left = last.map_or(Duration::ZERO, |fetch| {
                let interval = look_interval(fetch, now, settings);
                interval.saturating_sub(now.saturating_duration_since(fetch.looked_at))
            });
            if left.is_zero() { Step::Look } else { Step::Wait(left) }
        }
        Lack::Failed(_) => {
            let delay = settings.retry_delay(last.map_or(1, |fetch| fetch.failures));
            again(world, missing.image, delay.saturating_sub(passed.unwrap_or(delay)))
        }
    }
}

/// How often the agent is asked how far a fetch is.
pub(super) fn look_interval(fetch: &Fetch, now: Instant, settings: &Settings) -> Duration {
    let age = now.saturating_duration_since(fetch.since);
    let wait = age.min(settings.list_interval_busy).max(age / 2).min(settings.list_interval);
    wait.max(FIRST_LOOK)
}

/// Another fetch, as soon as `left` is over.
fn again(world: &World, image: ImageId, left: Duration) -> Step {
    match world.image(image).and_then(|declared| declared.understood.as_deref()) {
        Some(image) if left.is_zero() => Step::Fetch(fetch(image)),
        Some(_) => Step::Wait(left),
        None => Step::Say(NO_DOCUMENT),
    }
}
