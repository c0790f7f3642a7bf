//! Segments: broken links, damage, resuming.

use bytes::Bytes;
use pigeon_bundle::NodeKey;
use pigeon_core::Notice;
use pigeon_core::limits::SEGMENT_SIZE_SCARCE;
use pigeon_proto::Frame;

use crate::support::pool::message;
use crate::world::World;

#[test]
fn a_link_that_breaks_in_the_middle_of_a_bundle_spends_nothing_and_resumes() {
    let mut world = World::new(2);
    let id = world.submit(0, 0, 5);
    let mut segments = 0;
    world.hook = Box::new(move |_, frame| {
        segments += usize::from(matches!(frame, Frame::Segment { .. }));
        segments <= 2 || !matches!(frame, Frame::Segment { .. })
    });
    let link = world.link(0, 1);
    world.cut(link);
    assert_eq!(world.copies(&id), [Some(6), None]);
    assert!(world.nodes[0].core.promised().is_empty());
    world.frames.clear();
    world.hook = Box::new(|_, _| true);
    world.link(0, 1);
    assert_eq!(world.copies(&id), [Some(3), Some(3)]);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset == 32_768)), 1);
    let resent = world.sent(0, |frame| matches!(frame, Frame::Segment { offset, .. } if *offset < 32_768));
    assert_eq!(resent, 0);
}

#[test]
fn a_bundle_begun_over_scarce_air_is_finished_over_a_cheaper_link_from_the_same_offset() {
    // Whoever dials the cheaper link, it stays.
    for (dialler, listener) in [(0, 1), (1, 0)] {
        let mut world = World::new(2);
        let id = world.submit(0, 0, 5);
        let mut segments = 0;
        world.hook = Box::new(move |_, frame| {
            segments += usize::from(matches!(frame, Frame::Segment { .. }));
            segments <= 3 || !matches!(frame, Frame::Segment { .. })
        });
        world.link_with(0, 1, |info| info.cost = 1);
        let begun = u32::try_from(3 * SEGMENT_SIZE_SCARCE).unwrap();
        assert_eq!(world.copies(&id), [Some(6), None]);
        world.frames.clear();
        world.hook = Box::new(|_, _| true);
        world.link_with(dialler, listener, |info| info.cost = 0);
        assert_eq!(world.copies(&id), [Some(3), Some(3)]);
        assert_eq!(
            world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset == begun)),
            1
        );
        let again = |frame: &Frame| matches!(frame, Frame::Segment { offset, .. } if *offset < begun);
        assert_eq!(world.sent(0, again), 0);
    }
}

#[test]
fn a_partial_belongs_to_one_node_key() {
    let mut world = World::new(3);
    let id = world.submit(0, 0, 5);
    world.nodes[2].put_own(0, &message(0, 5).bundle);
    let mut left = 2;
    world.hook = Box::new(move |_, frame| {
        let segment = matches!(frame, Frame::Segment { .. });
        left -= i32::from(segment);
        left >= 0 || !segment
    });
    let link = world.link(0, 1);
    world.cut(link);
    world.hook = Box::new(|_, _| true);
    world.frames.clear();
    world.link(2, 1);
    assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset == 0)), 1);
    assert_eq!(world.copies(&id), [Some(6), Some(3), Some(3)]);
}

#[test]
fn a_flipped_byte_anywhere_is_refused_and_never_stored() {
    let bundle = &message(0, 1).bundle;
    for at in (0..bundle.size()).step_by(7) {
        let mut world = World::new(2);
        let id = world.submit(0, 0, 1);
        world.hook = Box::new(move |_, frame| {
            if let Frame::Segment { data, .. } = frame {
                let mut bytes = data.to_vec();
                bytes[at] ^= 0x10;
                *data = Bytes::from(bytes);
            }
            true
        });
        let link = world.link(0, 1);
        assert_eq!(world.copies(&id), [Some(6), None], "byte {at}");
        let refused = |(node, notice): &(usize, Notice)| {
            *node == 1 && matches!(notice, Notice::BundleRefused { node, .. } if *node == NodeKey([1; 32]))
        };
        assert!(world.notices.iter().any(refused), "byte {at}");
        world.hook = Box::new(|_, _| true);
        world.cut(link);
        world.frames.clear();
        world.link(0, 1);
        assert_eq!(world.copies(&id), [Some(3), Some(3)], "byte {at}: the next time it is whole");
        assert_eq!(world.sent(1, |frame| matches!(frame, Frame::Accept(accept) if accept.offset > 0)), 0);
    }
}
