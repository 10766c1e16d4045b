//! Brings images to hosts: one fetch a host and image at a time, looked at until the host lists the image.
//!
//! What is under way is known to this process alone: a new leader reads the host's list and asks for what is not there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lochness_agent::AgentError;
use lochness_agent::wire::{AgentImage, AgentJobStatus, ImageFetch};
use lochness_api::{HypervisorId, ImageId};
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tracing::{info, warn};

use super::images::{
    EAGER, FIRST_LOOK, Fetch, Missing, Step, look_interval, missing_images, needs, step,
};
use crate::agents::{Agent, CallError, target};
use crate::context::Context;
use crate::reports::{HostReport, ImageState, Protocol};
use crate::wake::wake_job_of;

/// The fetches that this process began, in this term.
#[derive(Debug, Default)]
pub(super) struct Fetches(Mutex<FxHashMap<(HypervisorId, ImageId), Fetch>>);

/// Images that a host lacks, with what to do about each.
struct Work {
    asked: Asked,
    steps: Vec<(ImageId, Step)>,
}

/// An agent, and which life of which machine it is: another machine may take the host's place while an answer is on its way.
struct Asked {
    agent: Agent,
    target: String,
    protocol: Option<Protocol>,
}

impl Asked {
    /// Whether the host is still the one that was asked.
    fn is_there(&self, report: &HostReport) -> bool {
        report.is_from(&self.target) && report.protocol == self.protocol
    }
}

impl Fetches {
    /// Takes the next step for every image that the host lacks. The answer says when to look again.
    pub(super) async fn advance(&self, context: &Context, host: HypervisorId) -> Option<Duration> {
        let work = self.work(context, host)?;
        if work.steps.iter().any(|(_, step)| matches!(step, Step::Fetch(_)))
            && let Err(error) = self.list(context, host, &work.asked).await
        {
            Self::unlisted(context, host, &work, &error);
            return Some(pause_after(&error, context));
        }
        // What has arrived by now is not among them.
        let work = self.work(context, host)?;
        let mut again = None;
        for (image, step) in work.steps {
            let wait = self.take(context, host, image, step, &work.asked).await;
            again = earlier(again, wait);
        }
        again
    }

    fn work(&self, context: &Context, host: HypervisorId) -> Option<Work> {
        let (world, reports) = (context.world.read(), context.reports.read());
        let (entry, report) = (world.host(host)?, reports.host(host)?);
        let target = target(entry).filter(|target| report.is_from(target))?;
        let now = Instant::now();
        let images = report.images.as_ref()?;
        let missing = missing_images(&world, entry, images);
        let mut fetches = self.lock();
        if missing.is_empty() {
            fetches.retain(|(of, _), _| *of != host);
            return None;
        }
        let may_change = context.hold(&world).is_none() && !entry.config.pause;
        if !may_change || !report.is_reachable(now, context.settings.reachable_window) {
            return None;
        }
        let decide = |missing: &Missing| {
            let last = fetches.get(&(host, missing.image));
            (missing.image, step(&world, missing, last, now, &context.settings))
        };
        let steps = missing.iter().map(decide).collect();
        let agent = context.agents.agent_at(host, target.clone());
        Some(Work { asked: Asked { agent, target, protocol: report.protocol.clone() }, steps })
    }

    async fn take(
        &self,
        context: &Context,
        host: HypervisorId,
        image: ImageId,
        step: Step,
        asked: &Asked,
    ) -> Option<Duration> {
        match step {
            Step::Fetch(fetch) => self.begin(context, host, &fetch, &asked.agent).await,
            Step::Look => self.look(context, host, image, asked).await,
            Step::GiveUp => {
                let minutes = super::images::FETCH_DEADLINE.as_secs() / 60;
                let words = format!("it did not arrive within {minutes} minutes");
                Some(self.failed(context, host, image, words))
            }
            Step::Wait(left) => Some(left),
            Step::Say(words) => {
                set(context, host, image, ImageState::Failed(words.to_owned()));
                None
            }
        }
    }

    async fn begin(
        &self,
        context: &Context,
        host: HypervisorId,
        fetch: &ImageFetch,
        agent: &Agent,
    ) -> Option<Duration> {
        let image = fetch.id;
        let remote = match agent.fetch_image(fetch).await {
            Ok(remote) => Some(remote),
            // It may be on its way: the list will tell.
            Err(error) if error.may_have_happened() => None,
            Err(CallError::Agent(error @ AgentError::Refused { .. })) => {
                let words = hide(&error.to_string(), &fetch.source);
                return Some(self.failed(context, host, image, words));
            }
            Err(error) => return Some(pause_after(&error, context)),
        };
        info!(%host, %image, "an image is being fetched");
        let now = Instant::now();
        {
            let mut fetches = self.lock();
            let failures = fetches.get(&(host, image)).map_or(0, |fetch| fetch.failures);
            fetches.insert((host, image), Fetch { failures, since: now, looked_at: now, remote });
        }
        set(context, host, image, ImageState::Fetching(now));
        Some(FIRST_LOOK)
    }

    /// Has the fetch ended? Only then, or when the agent cannot be asked about it, its images are listed.
    async fn look(
        &self,
        context: &Context,
        host: HypervisorId,
        image: ImageId,
        asked: &Asked,
    ) -> Option<Duration> {
        let now = Instant::now();
        let fetch = self.lock().get_mut(&(host, image)).map(|fetch| {
            fetch.looked_at = now;
            fetch.clone()
        })?;
        let next_look = look_interval(&fetch, now, &context.settings);
        let job = match &fetch.remote {
            None => None,
            Some(remote) => match asked.agent.job(remote).await {
                Ok(Some(job)) if !job.status.is_final() => return Some(next_look),
                Ok(job) => Some(job),
                Err(error) => return Some(pause_after(&error, context)),
            },
        };
        match self.list(context, host, asked).await {
            Ok(listed) if listed.contains(&image) => return None,
            Ok(_) => {}
            Err(error) => return Some(pause_after(&error, context)),
        }
        let words = match job {
            Some(Some(job)) if job.status == AgentJobStatus::Error => {
                hide(&job.message, &source_of(context, image).unwrap_or_default())
            }
            Some(None) => "the agent no longer knows of the fetch".to_owned(),
            None if fetch.since.elapsed() >= EAGER => match asked.agent.image_jobs().await {
                // The jobs do not say for which image they are: one that is under way may be this one's.
                Ok(jobs) if jobs.iter().all(|job| job.status.is_final()) => {
                    "the agent does not know of the fetch".to_owned()
                }
                Ok(_) => return Some(next_look),
                Err(error) => return Some(pause_after(&error, context)),
            },
            Some(Some(_)) | None => return Some(next_look),
        };
        Some(self.failed(context, host, image, words))
    }

    /// Asks the host which images it has.
    async fn list(
        &self,
        context: &Context,
        host: HypervisorId,
        asked: &Asked,
    ) -> Result<Vec<ImageId>, CallError> {
        let images = asked.agent.images().await?;
        let listed: Vec<_> = images.iter().filter_map(AgentImage::image_id).collect();
        self.arrived(context, host, asked, &listed);
        Ok(listed)
    }

    /// The host lists these images.
    fn arrived(&self, context: &Context, host: HypervisorId, asked: &Asked, listed: &[ImageId]) {
        let mut came = Vec::new();
        context.reports.change(host, |report| {
            if !asked.is_there(report) {
                return;
            }
            let Some(images) = &mut report.images else { return };
            for image in listed {
                if images.insert(*image, ImageState::Present) != Some(ImageState::Present) {
                    came.push(*image);
                }
            }
        });
        for image in came {
            self.lock().remove(&(host, image));
            wake_needing(context, host, image);
        }
    }

    /// Without the host's list nothing is fetched: whoever waits for an image is told that.
    fn unlisted(context: &Context, host: HypervisorId, work: &Work, error: &CallError) {
        let CallError::Agent(error) = error else { return };
        let due = work.steps.iter().filter(|(_, step)| matches!(step, Step::Fetch(_)));
        for (image, _) in due {
            let words = format!("the host's images cannot be listed: {error}");
            set(context, host, *image, ImageState::Failed(words));
        }
    }

    /// Notes why a fetch failed; the answer says when the next one may begin.
    fn failed(
        &self,
        context: &Context,
        host: HypervisorId,
        image: ImageId,
        words: String,
    ) -> Duration {
        warn!(%host, %image, words, "an image could not be fetched");
        let failures = {
            let mut fetches = self.lock();
            let failures = fetches.get(&(host, image)).map_or(0, |fetch| fetch.failures) + 1;
            let since = Instant::now();
            fetches
                .insert((host, image), Fetch { failures, since, looked_at: since, remote: None });
            failures
        };
        set(context, host, image, ImageState::Failed(words));
        context.settings.retry_delay(failures)
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<(HypervisorId, ImageId), Fetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(context: &Context, host: HypervisorId, image: ImageId, state: ImageState) {
    let mut is_new = false;
    context.reports.change(host, |report| {
        if let Some(images) = &mut report.images {
            is_new = images.insert(image, state.clone()) != Some(state);
        }
    });
    if is_new {
        wake_needing(context, host, image);
    }
}

/// The guests on the host that need the image: they may go on now, or say why not.
fn wake_needing(context: &Context, host: HypervisorId, image: ImageId) {
    let world = context.world.read();
    let Some(entry) = world.host(host) else { return };
    for guest in entry.placed.iter().filter(|id| needs(&world, **id) == Some(image)) {
        context.queues.guest.add(*guest);
        wake_job_of(&world, *guest, &context.queues);
    }
}

fn source_of(context: &Context, image: ImageId) -> Option<String> {
    let world = context.world.read();
    Some(world.image(image)?.understood.as_ref()?.source.clone())
}

/// The agent's words without the place that the image comes from, which may hold a password.
fn hide(words: &str, source: &str) -> String {
    let words =
        if source.is_empty() { words.to_owned() } else { words.replace(source, "its source") };
    words.chars().take(256).collect()
}

fn pause_after(error: &CallError, context: &Context) -> Duration {
    match error {
        CallError::LeftAlone { retry_in } => *retry_in,
        CallError::NoBudget | CallError::Held | CallError::Busy | CallError::Agent(_) => {
            context.settings.retry_min
        }
    }
}

fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
