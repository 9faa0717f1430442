//! After a change of the forwarding method: a real server keeps its own for as long as it serves.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::host::wait;
use crate::observe::status::{self, Allocation, RealServer, Row};
use crate::part;
use crate::report::ui::Step;
use crate::world::context::Lab;

/// Replaces the instances that go by another method than the lab's, one after the other.
pub(super) fn ensure(lab: &Lab, step: &mut Step) -> Result<()> {
    let (vip, method) = (lab.topology.vip().to_string(), lab.forward.method());
    // Nothing is concluded from a kernel that can't be read.
    status::look(lab).kernel.map_err(|reason| anyhow!(reason))?;
    let reals = || -> Vec<(Option<Allocation>, RealServer)> {
        let rows = status::read(lab).rows.into_iter();
        let real = |row: Row| Some((row.allocation, row.real_server?));
        rows.filter_map(real)
            .filter(|(_, real)| real.serves(&vip) && real.weight > 0)
            .collect()
    };
    let others = || {
        let reals = reals().into_iter();
        reals.filter(|(_, real)| real.forward != method)
    };
    while let Some((allocation, real)) = others().next() {
        let (all, left) = (reals().len(), others().count());
        let allocation = allocation.with_context(|| format!("{} is not Nomad's", real.address))?;
        step.line(&format!(
            "allocation {}: another by {method}",
            allocation.id
        ));
        part::job::replace(lab, &allocation.id)?;
        wait::until(
            &format!("wait for an instance that goes by {method}"),
            Duration::from_mins(1),
            || {
                ensure!(others().count() < left, "{} still serves", real.address);
                ensure!(reals().len() >= all, "its successor does not serve yet");
                Ok(())
            },
            || None,
        )?;
    }
    Ok(())
}
