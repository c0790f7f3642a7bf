//! When neighbours are looked for.

use pigeon_core::limits::{MET_MS, NEWS_MS};
use pigeon_core::{Battery, Event, Windows};

use crate::world::World;

fn pace(world: &World) -> Windows {
    world.windows.iter().filter(|(node, _)| *node == 0).map(|(_, windows)| *windows).next_back().unwrap()
}

#[test]
fn the_pace_follows_mail_company_uplink_and_battery() {
    let mut world = World::new(2);
    assert_eq!(pace(&world), Windows::EAGER, "just started");
    world.advance(MET_MS + 60_000);
    assert_eq!(pace(&world), Windows::SPARSE);
    world.submit(0, 0, 0);
    assert_eq!(pace(&world), Windows::EAGER, "mail to hand over");
    world.advance(NEWS_MS + 60_000);
    assert_eq!(pace(&world), Windows::STEADY);
    let link = world.link(0, 1);
    assert_eq!(pace(&world), Windows::EAGER, "company");
    world.advance(MET_MS + 60_000);
    assert_eq!(pace(&world), Windows::STEADY);
    world.cut(link);
    assert_eq!(pace(&world), Windows::EAGER, "somebody just left");
    world.event(0, Event::Battery(Some(Battery { percent: 3, charging: false })));
    assert_eq!(pace(&world), Windows::OFF);
    let now = world.nodes[0].now(world.now_ms);
    let looked_ms = world.nodes[0].core.looked_ms(now);
    assert!(looked_ms > 0);
    world.advance(MET_MS + 60_000);
    assert_eq!(world.nodes[0].core.looked_ms(world.nodes[0].now(world.now_ms)), looked_ms);
    world.event(0, Event::Battery(None));
    world.event(0, Event::UplinkUp);
    assert_eq!(pace(&world), Windows::RARE);
    world.event(0, Event::UplinkDown);
    assert_eq!(pace(&world), Windows::STEADY);
}
