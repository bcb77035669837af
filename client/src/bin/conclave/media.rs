//! `conclave join --publish … --record …`: the media of a member.

use clap::Args;
use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use conclave_client::{
    Client,
    again::Relays,
    media::{Clip, Kind, Media, MediaError, MediaOptions, Published, StreamReport, local_addresses},
};

use crate::{
    args,
    exit::Failure,
    timeline::{Note, Timeline},
};

/// What to publish and where to record.
#[derive(Debug, Args)]
pub(crate) struct MediaArgs {
    /// Publish a file in a loop, sealed: IVF with VP8, VP9 or AV1, or H.264 in Annex B; several become several tracks
    #[arg(long, value_name = "FILE")]
    publish: Vec<PathBuf>,
    /// Publish sound in a loop, sealed: Ogg with Opus
    #[arg(long, value_name = "FILE")]
    publish_audio: Vec<PathBuf>,
    /// Record what every other member sends, one file for each stream; everybody sees that this member records, and the
    /// token must allow it (role recorder)
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Own address for media; several may be given. Without it, the addresses that lead to the network
    #[arg(long, value_name = "ADDRESS")]
    media_address: Vec<IpAddr>,
    /// How often the streams are reported
    #[arg(long, value_name = "TIME", value_parser = args::duration, default_value = "10s")]
    report: Duration,
}

/// The same, read and checked before anybody is asked for anything.
pub(crate) struct MediaPlan {
    clips: Vec<Arc<Clip>>,
    record: Option<PathBuf>,
    addresses: Vec<IpAddr>,
    /// How often the streams are reported.
    pub(crate) report: Duration,
}

impl MediaArgs {
    /// Reads the files; `None` when no media was asked for.
    pub(crate) fn plan(self) -> Result<Option<MediaPlan>, Failure> {
        if self.publish.is_empty() && self.publish_audio.is_empty() && self.record.is_none() {
            return Ok(None);
        }
        let video = self.publish.iter().map(|path| clip(path, Kind::Video));
        let audio = self.publish_audio.iter().map(|path| clip(path, Kind::Audio));
        let clips = video.chain(audio).collect::<Result<_, _>>()?;
        Ok(Some(MediaPlan { clips, record: self.record, addresses: self.media_address, report: self.report }))
    }
}

fn clip(path: &Path, kind: Kind) -> Result<Arc<Clip>, Failure> {
    let failed = |reason: String| Failure::File { path: path.display().to_string(), reason };
    let clip = Clip::read(path).map_err(|error| failed(error.to_string()))?;
    if clip.format().kind() == kind {
        return Ok(Arc::new(clip));
    }
    Err(failed(match kind {
        Kind::Audio => "it holds no sound; publish it with --publish".to_owned(),
        Kind::Video => "it holds no picture; publish it with --publish-audio".to_owned(),
    }))
}

impl MediaPlan {
    /// This member is to be a recorder.
    pub(crate) const fn records(&self) -> bool {
        self.record.is_some()
    }

    /// Begins.
    pub(crate) fn start(&self, client: &Client, relays: &Relays) -> Result<Media, Failure> {
        let mut addresses = self.addresses.clone();
        if addresses.is_empty() {
            addresses = local_addresses();
            let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
            // Whoever uses a relay on this machine may be on this machine alone.
            if relays.here().is_loopback() && !addresses.contains(&loopback) {
                addresses.push(loopback);
            }
        }
        let (publish, record) = (self.clips.clone(), self.record.clone());
        let options = MediaOptions { publish, record, addresses, ..MediaOptions::default() };
        Media::start(client.clone(), options).map_err(|error| self.failure(&error))
    }

    /// Tells how the streams are that go on.
    pub(crate) fn tell(&self, media: &Media, timeline: &Timeline) -> Result<(), Failure> {
        let streams: Vec<StreamReport> = media.streams().into_iter().filter(|stream| !stream.over).collect();
        tell(timeline, &media.published(), &streams)
    }

    /// Ends it, and tells all streams for the last time.
    pub(crate) fn finish(&self, media: &Media, timeline: &Timeline) -> Result<(), Failure> {
        let published = media.published();
        let streams = media.close().map_err(|error| self.failure(&error))?;
        tell(timeline, &published, &streams)
    }

    fn failure(&self, error: &MediaError) -> Failure {
        let path = self.record.as_deref().unwrap_or(Path::new("")).display().to_string();
        Failure::File { path, reason: error.to_string() }
    }
}

fn tell(timeline: &Timeline, published: &[Published], streams: &[StreamReport]) -> Result<(), Failure> {
    for published in published {
        timeline.note(&Note::Published(*published))?;
    }
    for stream in streams {
        timeline.note(&Note::Stream(stream.clone()))?;
    }
    Ok(())
}
