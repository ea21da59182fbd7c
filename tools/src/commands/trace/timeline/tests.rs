//! Records by hand, and the spans that come of them.

use super::*;

const A: Vcpu = (0, 0);
const B: Vcpu = (1, 0);

fn entry(time_ns: u64, kind: Kind, (domain, vcpu): Vcpu, [first, second]: [u64; 2]) -> Entry {
    Entry { time_ns, kind, domain, vcpu, first, second }
}

fn of(entries: Vec<Entry>) -> Timeline {
    Timeline::of(&[(0, entries)])
}

/// The spans of a track: begin, end, what.
fn spans(timeline: &Timeline, track: Track) -> Vec<(u64, u64, What)> {
    let spans = timeline.spans.iter().filter(|span| span.track == track);
    spans.map(|span| (span.begin_ns, span.end_ns, span.what)).collect()
}

const RUN_A: What = What::Run { cpu: 0, vcpu: A };
const RUN_B: What = What::Run { cpu: 0, vcpu: B };
const TIMER: What = What::Visit(Cause::Interrupt(0xf0));
const SWITCH: What = What::Visit(Cause::Switch);

#[test]
fn a_call_is_a_visit_within_a_run_and_has_its_status() {
    let timeline = of(vec![
        entry(10, Kind::Switch, A, [0, 0]),
        entry(20, Kind::Leave, A, [0, 0]),
        entry(30, Kind::Call, A, [0x1_0000, 7]),
        entry(40, Kind::Leave, A, [0, 5]),
        entry(50, Kind::Idle, A, [0, 0]),
    ]);
    let call = What::Visit(Cause::Call { id: 0x1_0000, first: 7, status: Some(5) });
    let idle = (50, 50, What::Idle);
    assert_eq!(
        spans(&timeline, Track::Cpu(0)),
        [(10, 20, SWITCH), (30, 40, call), (20, 50, RUN_A), idle],
        "what comes before the run is not in it"
    );
    let (kernel_before, kernel_after) = ((20, 30, What::Kernel(0)), (40, 50, What::Kernel(0)));
    assert_eq!(
        spans(&timeline, Track::Vcpu(A)),
        [kernel_before, (30, 40, call), kernel_after, (20, 50, RUN_A)]
    );
    assert_eq!(timeline.unclosed, 0);
}

#[test]
fn a_visit_that_comes_to_another_vcpu_is_cut_there() {
    let timeline = of(vec![
        entry(0, Kind::Leave, A, [1, 0]),
        entry(10, Kind::Interrupt, A, [0xf0, 0]),
        entry(12, Kind::Deadline, A, [1, 99]),
        entry(20, Kind::Switch, B, [0, 0]),
        entry(25, Kind::Upcall, B, [0, 0]),
        entry(30, Kind::Leave, B, [0, 0]),
        entry(40, Kind::Stop, B, [0, 0]),
    ]);
    assert_eq!(
        spans(&timeline, Track::Cpu(0)),
        [(10, 20, TIMER), (0, 20, RUN_A), (20, 30, SWITCH), (30, 40, RUN_B)]
    );
    let program = (0, 10, What::Program(0));
    assert_eq!(spans(&timeline, Track::Vcpu(A)), [program, (10, 20, TIMER), (0, 20, RUN_A)]);
    assert_eq!(spans(&timeline, Track::Vcpu(B)), [(30, 40, What::Kernel(0)), (30, 40, RUN_B)]);
    let tracks: Vec<_> = timeline.instants.iter().map(|instant| instant.track).collect();
    assert_eq!(tracks, [Track::Vcpu(B); 3], "a deadline is its owner's, whoever runs");
}

#[test]
fn idling_ends_with_an_interrupt_and_goes_on_behind_it() {
    let timeline = of(vec![
        entry(0, Kind::Idle, A, [0, 0]),
        entry(10, Kind::Interrupt, A, [0xf0, 0]),
        entry(12, Kind::Idle, A, [0, 0]),
        entry(20, Kind::Interrupt, A, [0xf0, 0]),
        entry(30, Kind::Leave, A, [0, 0]),
    ]);
    assert_eq!(
        spans(&timeline, Track::Cpu(0)),
        [(0, 10, What::Idle), (10, 12, TIMER), (12, 20, What::Idle), (20, 30, TIMER), (30, 30, RUN_A)]
    );
    let a: Vec<_> = spans(&timeline, Track::Vcpu(A));
    assert_eq!(a, [(30, 30, What::Kernel(0)), (30, 30, RUN_A)]);
}

#[test]
fn records_may_begin_anywhere() {
    let timeline = of(vec![
        entry(10, Kind::HiddenFault, A, [0x1000, 0]),
        entry(20, Kind::Leave, A, [1, 0]),
        entry(30, Kind::SystemCall, A, [1, 2]),
    ]);
    let visit = What::Visit(Cause::SystemCall { number: 1, address: 2 });
    assert_eq!(spans(&timeline, Track::Cpu(0)), [(30, 30, visit), (20, 30, RUN_A)]);
    // Whoever comes from a guest was in it.
    let timeline = of(vec![entry(10, Kind::Call, A, [0, 0]), entry(20, Kind::Idle, A, [0, 0])]);
    let kinds: Vec<_> = spans(&timeline, Track::Cpu(0)).into_iter().map(|(_, _, what)| what).collect();
    assert!(matches!(kinds[..], [What::Visit(Cause::Call { status: None, .. }), RUN_A, What::Idle]));
    assert_eq!(Timeline::of(&[]).spans.len(), 0);
}

#[test]
fn a_way_out_without_a_record_is_counted() {
    let call = |time| entry(time, Kind::Call, A, [0x1_0000, 0]);
    assert_eq!(of(vec![call(0), call(10), entry(20, Kind::Leave, A, [0, 0])]).unclosed, 1);
    let other = vec![entry(0, Kind::Leave, A, [0, 0]), entry(10, Kind::Leave, B, [0, 0])];
    assert_eq!(of(other).unclosed, 1, "nobody switched");
    let interrupted =
        vec![call(0), entry(5, Kind::Interrupt, A, [0xf1, 0]), entry(9, Kind::Leave, A, [0, 0])];
    let timeline = of(interrupted);
    assert_eq!((timeline.unclosed, timeline.instants.len()), (0, 1), "the hypervisor lets some in");
}

#[test]
fn a_ring_leads_to_where_the_other_goes_on() {
    let first = vec![
        entry(0, Kind::Call, A, [0x3_0003, 1]),
        entry(1, Kind::Doorbell, A, [1, 4]),
        entry(2, Kind::Doorbell, A, [1, 4]),
        entry(3, Kind::Leave, A, [0, 0]),
    ];
    let doorbell = |channel: u64| 5 << 32 | channel;
    let second = vec![
        entry(10, Kind::Interrupt, B, [0xf1, 0]),
        entry(11, Kind::Port, B, [2, doorbell(3)]),
        entry(12, Kind::Port, B, [2, doorbell(4)]),
        entry(13, Kind::Leave, B, [0, 0]),
        entry(14, Kind::Port, B, [2, doorbell(4)]),
        entry(15, Kind::Leave, B, [0, 0]),
    ];
    let timeline = Timeline::of(&[(0, first), (1, second)]);
    let [ring] = timeline.rings[..] else { panic!("{:?}", timeline.rings) };
    assert_eq!(ring.from, (Track::Vcpu(A), 2), "what was rung before anybody looked is one event");
    assert_eq!(ring.to, (Track::Vcpu(B), 13));
}
