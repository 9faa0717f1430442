//! Somebody changes the director's kernel by hand: what no view shows, a connection shows.

use crate::story;

#[test]
fn a_vip_that_is_dead_though_all_views_agree_makes_status_say_so() {
    let lab = story::up();
    story::agreement(&lab, 30);
    // Without it nothing that SNAT does is seen by IPVS.
    let set = |value: &str| {
        let script = format!("echo {value} > /proc/sys/net/ipv4/vs/conntrack");
        let output = lab.kernel.capture(&["sh", "-c", &script]).unwrap();
        assert_eq!(output.code, 0, "{}", output.stderr);
    };
    set("0");
    let output = story::lab(story::PROFILE, &["status"]);
    set("1");
    let said = story::said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no connection") && said.contains("The three views agree"),
        "{said}"
    );
    story::agreement(&lab, 30);
    let output = story::lab(story::PROFILE, &["status"]);
    let said = story::said(&output);
    assert!(
        output.status.success() && said.contains("connects in"),
        "{said}"
    );
}
