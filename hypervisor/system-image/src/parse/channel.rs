//! Channels between two domains, as each of the two sees them.

use super::SystemImage;
use super::domain::Few;
use super::fields::{Fields, to_usize};
use crate::error::ImageError;
use crate::layout::{self, entry};

/// One end of a channel. Its owner knows it by its place in [`Domain::channels`](crate::Domain::channels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelEnd {
    /// The other domain, by its place in the image.
    pub peer: u16,
    /// The number under which the other domain knows the channel.
    pub peer_channel: u16,
}

impl Fields<'_> {
    pub(super) fn channels(&self) -> Result<Few<ChannelEnd, { layout::MAX_CHANNELS }>, ImageError> {
        let count = to_usize(self.u32(entry::CHANNEL_COUNT)?.into());
        if count > layout::MAX_CHANNELS {
            return Err(ImageError::BadChannelCount);
        }
        Few::read(self, count, (entry::CHANNELS, entry::CHANNEL_SIZE), |record| {
            Ok(ChannelEnd {
                peer: self.u16(record + entry::CHANNEL_PEER)?,
                peer_channel: self.u16(record + entry::CHANNEL_PEER_CHANNEL)?,
            })
        })
    }
}

impl SystemImage<'_> {
    /// Every channel of domain `index` leads to another domain.
    pub(super) fn check_peers(&self, index: usize, channels: &[ChannelEnd]) -> Result<(), ImageError> {
        for channel in channels {
            match usize::from(channel.peer) {
                peer if peer == index => return Err(ImageError::ChannelToItself),
                peer if peer >= self.domain_count => return Err(ImageError::BadChannelPeer),
                _ => {}
            }
        }
        Ok(())
    }

    /// The two ends of each channel of domain `index` name each other, so no end is named twice.
    pub(super) fn check_ends(&self, index: usize) -> Result<(), ImageError> {
        for (number, channel) in self.domain(index)?.channels().iter().enumerate() {
            let peer = self.domain(channel.peer.into())?;
            let points_here = |back: &ChannelEnd| {
                usize::from(back.peer) == index && usize::from(back.peer_channel) == number
            };
            if !peer.channels().get(usize::from(channel.peer_channel)).is_some_and(points_here) {
                return Err(ImageError::OneSidedChannel);
            }
        }
        Ok(())
    }
}
