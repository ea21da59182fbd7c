//! Channels: two ends that name each other.

use super::*;

/// [`system`] with a third domain and these channels.
fn three(channels: &[[u16; 2]]) -> Result<Vec<u8>, WriteError> {
    let mut system = system();
    system.domains.push(domain("third"));
    system.channels = channels.to_vec();
    write(&system)
}

/// Alters field `offset` of the second domain's first channel, whose other end is channel 0 of the first domain.
fn with_channel(offset: usize, value: u8) -> Result<(), ImageError> {
    with_entry(entry::CHANNELS + offset, &[value])
}

fn end(peer: u16, peer_channel: u16) -> ChannelEnd {
    ChannelEnd { peer, peer_channel }
}

#[test]
fn ends_are_numbered_in_order_and_name_each_other() {
    let bytes = three(&[[0, 1], [2, 0], [1, 0]]).unwrap();
    let image = SystemImage::parse(&bytes).unwrap();
    let domains: Vec<_> = image.domains().collect();
    assert_eq!(domains[0].channels(), [end(1, 0), end(2, 0), end(1, 1)]);
    assert_eq!(domains[1].channels(), [end(0, 0), end(0, 2)]);
    assert_eq!(domains[2].channels(), [end(0, 1)]);
}

#[test]
fn the_most_channels() {
    assert!(three(&[[0, 1]; layout::MAX_CHANNELS]).is_ok());
    let crowded = three(&[[0, 1]; layout::MAX_CHANNELS + 1]);
    assert_eq!(crowded, Err(WriteError::DoesNotFit("the number of channels")));
}

#[test]
fn impossible_pairs_are_not_written() {
    assert_eq!(three(&[[0, 3]]), Err(WriteError::Refused(ImageError::BadChannelPeer)));
    assert_eq!(three(&[[1, 1]]), Err(WriteError::Refused(ImageError::ChannelToItself)));
}

#[test]
fn altered_ends_are_refused() {
    assert_eq!(with_channel(entry::CHANNEL_PEER, 0), Ok(()));
    assert_eq!(with_channel(entry::CHANNEL_PEER, 1), Err(ImageError::ChannelToItself));
    assert_eq!(with_channel(entry::CHANNEL_PEER, 2), Err(ImageError::BadChannelPeer));
    assert_eq!(with_channel(entry::CHANNEL_PEER + 1, 0xff), Err(ImageError::BadChannelPeer));
    // The other channel's end, and ends that do not exist.
    for wrong in [1, 2, 16, 0xff] {
        let refused = with_channel(entry::CHANNEL_PEER_CHANNEL, wrong);
        assert_eq!(refused, Err(ImageError::OneSidedChannel), "{wrong}");
    }
}

/// Both of the second domain's ends cross over: each still names an end, but not one that names it.
#[test]
fn crossed_ends_are_refused() {
    let ends =
        [end(0, 1), end(0, 0)].map(|end| [end.peer.to_le_bytes(), end.peer_channel.to_le_bytes()].concat());
    assert_eq!(with_entry(entry::CHANNELS, &ends.concat()), Err(ImageError::OneSidedChannel));
}

#[test]
fn number_of_channels() {
    assert_eq!(with_entry(entry::CHANNEL_COUNT, &[1]), Err(ImageError::ReservedNotZero));
    // A third end, all zeros: it names the first domain's channel 0, which names another.
    assert_eq!(with_entry(entry::CHANNEL_COUNT, &[3]), Err(ImageError::OneSidedChannel));
    assert_eq!(with_entry(entry::CHANNEL_COUNT, &[17]), Err(ImageError::BadChannelCount));
    assert_eq!(with_entry(entry::CHANNEL_COUNT, &[0xff; 4]), Err(ImageError::BadChannelCount));
    assert_eq!(with_entry(entry::CHANNELS + 2 * entry::CHANNEL_SIZE, &[1]), Err(ImageError::ReservedNotZero));
}
