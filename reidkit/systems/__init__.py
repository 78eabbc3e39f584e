"""The systems: methods that are trained and measured, one file each. A new one is a file here and a line below."""

from reidkit.systems import (
    aanet,
    aligned_reid,
    attributes,
    bfe,
    circle,
    dare,
    ianet,
    joint_loss,
    osnet,
    pan,
    pcb,
    san_gal,
    spreid,
    svdnet,
    vpm,
)
from reidkit.systems.system import System

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        joint_loss.SYSTEM,
        attributes.SYSTEM,
        san_gal.SYSTEM,
        pcb.SYSTEM,
        bfe.SYSTEM,
        ianet.SYSTEM,
        circle.SYSTEM,
        osnet.SYSTEM,
        svdnet.SYSTEM,
        pan.SYSTEM,
        vpm.SYSTEM,
        aligned_reid.SYSTEM,
        aanet.SYSTEM,
        spreid.SYSTEM,
        dare.SYSTEM,
    )
}
"""Every system by its name."""

ROWS: dict[str, System] = {row: system for system in SYSTEMS.values() for row in system.rows}
"""Which system each row is of."""
