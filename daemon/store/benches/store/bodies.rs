//! Large bodies: as part of the log, or as files of their own with a record in the log.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Bytes of a body: above the 64 KiB from which a file might pay.
const BODY: usize = 100 << 10;
/// Bytes of what the log has of a body that is elsewhere.
const RECORD: usize = 400;
const BODIES: usize = 64;
/// Both ways take turns; the figure is the median of their ratios.
const TURNS: usize = 5;

/// Seconds for bodies in groups, each group durable by one sync.
fn in_log(dir: &Path, group: usize) -> f64 {
    let mut log = File::create(dir.join("log")).unwrap();
    let bytes = vec![7; group * (BODY + RECORD)];
    let start = Instant::now();
    for _ in 0..BODIES / group {
        log.write_all(&bytes).unwrap();
        log.sync_data().unwrap();
    }
    start.elapsed().as_secs_f64()
}

/// Seconds for the same with each body written aside, synced and renamed; the folder and the log are synced once a group.
fn as_files(dir: &Path, group: usize) -> f64 {
    let mut log = File::create(dir.join("log")).unwrap();
    let (body, records) = (vec![7; BODY], vec![7; group * RECORD]);
    let start = Instant::now();
    for number in 0..BODIES {
        let (aside, name) = (dir.join("aside"), dir.join(number.to_string()));
        let mut file = File::create(&aside).unwrap();
        file.write_all(&body).unwrap();
        file.sync_data().unwrap();
        std::fs::rename(aside, name).unwrap();
        if (number + 1) % group == 0 {
            File::open(dir).unwrap().sync_all().unwrap();
            log.write_all(&records).unwrap();
            log.sync_data().unwrap();
        }
    }
    start.elapsed().as_secs_f64()
}

/// How many times as fast the log is, alone and in groups of four.
pub(crate) fn compare(dir: &Path) {
    let ratio = |group: usize| {
        let mut ratios: Vec<f64> = (0..TURNS)
            .map(|_| {
                let dir = tempfile::tempdir_in(dir).unwrap();
                as_files(dir.path(), group) / in_log(dir.path(), group)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios[TURNS / 2]
    };
    let (alone, grouped) = (ratio(1), ratio(4));
    println!(
        "bench: store.bodies_in_log_vs_files {alone:.1} (times as fast for bodies of {BODY} bytes alone, {grouped:.1} in groups of 4)"
    );
}
