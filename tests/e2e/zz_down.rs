//! The last story: the shared lab goes, and nothing of it is left. (Tests run in the order of their names.)

use crate::{interrupted, story};

#[test]
fn down_removes_all_that_up_made() {
    story::up();
    let output = story::lab(story::profile(), &["down"]);
    assert!(output.status.success(), "{}", story::text(&output));
    interrupted::nothing_is_left(story::profile());
}
