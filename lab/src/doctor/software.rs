//! Packages, agents and Go.

use super::Installing;
use super::finding::Finding;
use crate::host::paths::Person;
use crate::supply::agents::{self, Binary};
use crate::supply::packages::{self, Distribution, Plans};

pub(super) fn packages(plans: Plans, installing: Installing) -> Finding {
    let missing = packages::missing(plans);
    if missing.is_empty() {
        return Finding::ok("packages", "all programs are there");
    }
    let names = packages::names(&missing);
    lacking(
        &names,
        &packages::packages_of(&missing),
        packages::distribution(),
        installing,
    )
}

fn lacking(
    names: &str,
    packages: &[&str],
    distribution: Distribution,
    installing: Installing,
) -> Finding {
    const NAME: &str = "packages";
    let finding = format!("not there: {names}");
    match (distribution, installing) {
        (Distribution::Apt, Installing::Allowed) => {
            let remedy = format!("`lab up` runs: {}", packages::command_line(packages));
            Finding::warn(NAME, finding, remedy)
        }
        (Distribution::Apt, Installing::Forbidden) => {
            Finding::missing(NAME, finding, packages::command_line(packages))
        }
        (Distribution::Other, _) => {
            let remedy =
                "install the programs that are named; the lab installs packages only with apt";
            Finding::missing(NAME, finding, remedy)
        }
    }
}

pub(super) fn agents(at_hand: &[Option<Binary>]) -> Finding {
    let texts: Vec<String> = at_hand.iter().flatten().map(Binary::to_string).collect();
    if texts.len() == at_hand.len() {
        return Finding::ok("agents", texts.join(", "));
    }
    Finding::ok(
        "agents",
        "not here yet: downloaded, or else built from Go modules, which takes minutes",
    )
}

/// Asked only if an agent may have to be built.
pub(super) fn go(person: &Person) -> Finding {
    match agents::go_toolchain(person) {
        Ok((path, version)) => Finding::ok("go", format!("{version} at {}", path.display())),
        Err(error) => match agents::releases_answer(person) {
            Ok(()) => Finding::ok(
                "go",
                format!("{error}. Not needed: the official releases can be downloaded"),
            ),
            Err(why) => Finding::missing(
                "go",
                format!("{error}"),
                format!("official releases would do, too, but: {why}"),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn what_up_installs_by_itself_is_a_warning_and_what_it_may_not_is_a_problem() {
        let say =
            |distribution, installing| lacking("ethtool", &["ethtool"], distribution, installing);
        let allowed = say(Distribution::Apt, Installing::Allowed);
        assert_eq!(allowed.state, State::Warn);
        assert_eq!(
            allowed.remedy.unwrap(),
            "`lab up` runs: apt-get install --no-install-recommends ethtool"
        );
        assert_eq!(
            say(Distribution::Apt, Installing::Forbidden).state,
            State::Missing
        );
        let other = say(Distribution::Other, Installing::Allowed);
        assert_eq!(
            (other.state, other.finding.as_str()),
            (State::Missing, "not there: ethtool")
        );
    }

    #[test]
    fn agents_that_are_not_here_yet_are_no_problem() {
        assert!(agents(&[None, None]).finding.contains("takes minutes"));
    }
}
