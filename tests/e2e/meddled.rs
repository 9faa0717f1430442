//! Somebody changes the director's kernel by hand: what no view shows, a connection shows; and the syncer mends it soon.

use crate::story;

/// How soon a setting is put right: they are looked at each second.
const SETTING_SECONDS: u64 = 10;

#[test]
fn a_vip_that_is_dead_though_all_views_agree_makes_status_say_so_until_the_syncer_has_mended_it() {
    let lab = story::up();
    story::agreement(&lab, 30);
    let run = |script: &str| {
        let output = lab.kernel.capture(&["sh", "-c", script]).unwrap();
        assert_eq!(output.code, 0, "{}", output.stderr);
    };
    // Without the setting nothing that SNAT does is seen by IPVS. A syncer that runs would be too quick for the look.
    run("kill -STOP $(pidof ipvs-syncer) && echo 0 > /proc/sys/net/ipv4/vs/conntrack");
    let output = story::lab(story::profile(), &["status"]);
    run("kill -CONT $(pidof ipvs-syncer)");
    let text = story::text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("no connection") && text.contains("The three views agree"),
        "{text}"
    );
    story::eventually("the VIP lives again", SETTING_SECONDS, || {
        let output = story::lab(story::profile(), &["status"]);
        let text = story::text(&output);
        let lives = output.status.success() && text.contains("connects in");
        lives.then_some(()).ok_or(text)
    });
}
