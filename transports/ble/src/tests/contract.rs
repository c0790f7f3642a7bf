//! The contract of every transport, on a bearer within the process, with pieces as small as a link can live with, as
//! large as an L2CAP channel has them, and out of order as over GATT. `rig.rs` runs it on BlueZ.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use pigeon_link::contract::{Pair, Rig};
use tokio_util::sync::CancellationToken;

use super::{linked, node};
use crate::bearer::{gatt_client, memory};

struct MemoryRig {
    piece_max: usize,
    silence: CancellationToken,
    /// Pieces come in an order of this seed's choice.
    disorder: Option<u64>,
}

impl MemoryRig {
    fn new(piece_max: usize) -> Self {
        Self { piece_max, silence: CancellationToken::new(), disorder: None }
    }

    /// As GATT is.
    fn disordered() -> Self {
        const SEED: u64 = 0x6A77;
        println!("seed {SEED:#x}");
        Self { disorder: Some(SEED), ..Self::new(gatt_client::PIECE_MAX) }
    }
}

impl Rig for MemoryRig {
    fn pair(&self) -> BoxFuture<'_, Pair> {
        async move {
            let (dialler, listener) = match self.disorder {
                Some(seed) => memory::disordered(self.piece_max, &self.silence, seed),
                None => memory::cuttable(self.piece_max, &self.silence),
            };
            let (dialler, listener) = linked(dialler, listener).await;
            Pair { dialler, listener, dialler_node: node(1), listener_node: node(2) }
        }
        .boxed()
    }

    fn cut(&self) -> BoxFuture<'_, ()> {
        self.silence.cancel();
        async {}.boxed()
    }
}

/// Pieces as small as a link can live with; the whole suite would send a million of them.
#[tokio::test]
async fn smallest_pieces_carry_and_end() {
    let rig = || MemoryRig::new(crate::noise::PIECE_MIN);
    pigeon_link::contract::both_directions_carry(&rig()).await;
    pigeon_link::contract::largest_frame_passes(&rig()).await;
    pigeon_link::contract::peers_learn_each_others_key(&rig()).await;
    pigeon_link::contract::drop_is_seen_after_what_was_queued(&rig()).await;
}

mod gatt_pieces {
    use super::MemoryRig;
    pigeon_link::contract_tests! { #[tokio::test] rig = MemoryRig::disordered() }
}

mod l2cap_pieces {
    use super::MemoryRig;
    pigeon_link::contract_tests! { #[tokio::test] rig = MemoryRig::new(crate::bearer::l2cap::PIECE_MAX) }
}
