"""The findings as sentences."""

from reidkit.records import Record
from reidkit.report.chapters import summary as shown
from tests.report.conftest import MakeLocalisation, MakeRecord


def test_a_method_that_gains_is_said_to_and_with_one_seed_only_as_far_as_that_tells(make_record: MakeRecord) -> None:
    def seeds(quality: float, count: int) -> dict[str, list[Record]]:
        base, ours = (
            [make_record(*row, seed=s, quality=q) for s in range(count)]
            for row, q in ((("none", "ce"), 0.6), (("cbam", "ce+tri+cir"), quality))
        )
        return {"none/ce": base, "cbam/ce+tri+cir": ours}

    def told(quality: float, count: int) -> str:
        return shown.method({"toy": seeds(quality, count)})

    assert told(0.9, 3).startswith("**The whole method gains less than printed.**")
    assert "CBAM with the joint loss is worth +14.65" in told(0.9, 3)
    assert told(0.9, 1).endswith(" (people alone) on toy.")
    assert told(0.9, 1).startswith("**Part of the printed gain is there, as far as so few seeds can tell.**")
    assert told(0.6, 1).startswith("**The printed gain is not there.**")
    assert shown.method({"toy": {}}).endswith("it has not been run yet.")
    both = {title: seeds(quality, 3) for title, quality in (("toy", 0.6), ("real", 0.9))}
    assert shown.method(both).startswith("**The whole method gains less than printed, and clearly only on real.**")


def test_the_other_findings_hold_what_was_run(make_record: MakeRecord, make_san_gal_record: MakeRecord) -> None:
    joint = {"toy": {f"{a}/ce": [make_record(a)] for a in ("none", "half", "se", "eca")}, "Market-1501": {}}
    assert shown.attention(joint).startswith("**Of two attention modules none clearly helps.**")
    assert "Market-1501 they" not in shown.attention(joint)
    seeds = {
        (a, q): [make_record(a, seed=s, quality=q) for s in (0, 1, 2)]
        for a, q in (("none", 0.5), ("half", 0.5), ("half", 0.8), ("se", 0.8))
    }
    real = {"none/ce": seeds["none", 0.5], "half/ce": seeds["half", 0.5], "se/ce": seeds["se", 0.8]}
    told = shown.attention(joint | {"Market-1501": real})
    assert told.startswith("**Of two attention modules only SE clearly helps, on Market-1501.**")
    assert "on Market-1501 SE has +" in told
    scaled = shown.attention({"toy": real | {"half/ce": seeds["half", 0.8]}})
    assert scaled.startswith("**Of one attention modules none clearly helps.**")  # no more than its constant
    assert shown.losses(joint).count("(not run yet)") == 2
    assert shown.losses(joint).startswith("**The losses alone.**")
    joint["Market-1501"] = {
        f"none/{loss}": [make_record(loss=loss, seed=seed, quality=quality) for seed in (0, 1, 2)]
        for loss, quality in (("ce", 0.6), ("ce+tri+cir", 0.9))
    }
    assert shown.losses(joint).startswith("**What helps is the loss, on Market-1501.**")
    guided = {"toy": {row: [make_san_gal_record(row)] for row in ("IDonly", "ID+attr", "ID+attrAttention")}}
    assert "(in the paper +0.80)" in shown.attributes(guided)
    assert shown.attributes(guided).startswith("**What attributes bring cannot be told yet")
    apart = {"IDonly": 0.5, "ID+attr": 0.9, "ID+attrAttention": 0.5}
    guided = {
        "toy": {row: [make_san_gal_record(row, seed, quality=of) for seed in range(3)] for row, of in apart.items()}
    }
    assert shown.attributes(guided).startswith("**Attention that attributes guide does not make up for")
    assert "(in the paper +2.60)" in shown.attributes(guided)
    assert "+6.5 points on Market-1501" in shown.start({})


def test_maps_are_told_with_their_network(make_record: MakeRecord, localisation: MakeLocalisation) -> None:
    assert shown.maps(None).endswith("It has not been run yet.")
    record: Record = make_record()
    record.tables["localisation"] = localisation({"hat": 0.2, "bag": 0.1})
    record.metrics["balanced accuracy (identity)"] = 0.815
    text = shown.maps(record)
    assert text.startswith("**Heat maps find attributes.**")
    assert "the maps are ahead by the pointing game, energy and IoU beside the blob." in text
    mixed = localisation({"hat": 0.2, "bag": 0.1})
    mixed.loc[mixed["measure"] == "iou", ["over centre", "over centre low", "over centre high"]] = -0.1
    record.tables["localisation"] = mixed
    assert shown.maps(record).startswith("**Heat maps find attributes little better than a blob.**")
    assert "ahead by the pointing game and energy, behind by IoU beside the blob" in shown.maps(record)
    record.tables["localisation"] = localisation({"hat": -0.2, "bag": -0.1})
    assert shown.maps(record).startswith("**A heat map that convinces the eye may miss.**")
    assert "balanced accuracy of 82 %" in text or "balanced accuracy of 81 %" in text


def test_modules_that_beat_the_baseline_are_named(make_record: MakeRecord) -> None:
    base = [make_record(seed=seed, quality=0.5) for seed in (0, 1, 2)]
    ahead = [make_record("se", seed=seed, quality=0.9) for seed in (0, 1, 2)]
    told = shown.modules(
        {"toy": {"none/ce": base, "se/ce": ahead}, "real": {"none/ce": base, "cbam/ce": base}, "no": {}}
    )
    assert told.startswith("On toy, of one module SE (+")
    assert told.endswith("On real, of one module none is clearly better than the baseline.")


def test_it_is_told_whether_other_systems_beat_the_plain_network(make_record: MakeRecord) -> None:
    def seeds(row: str, quality: float) -> list[Record]:
        return [make_record(row, seed=seed, quality=quality) for seed in (0, 1, 2)]

    runs = {"none/ce+tri": seeds("none", 0.6), "pcb": seeds("se", 0.3), "osnet": seeds("eca", 0.6)}
    assert shown.others({"toy": runs}).startswith("**No other system clearly beats a plain network")
    assert shown.others({"toy": {}}) == "**Other people's systems** have not been run yet."
    good = runs | {"osnet": seeds("eca", 0.9)}
    better = shown.others({"toy": good})
    assert better.startswith("**Some other systems beat a plain network with triplet loss.**")
    assert "On toy, of the two that were run, *OSNet* (+" in better
    mixed = shown.others({"toy": runs, "real": good})
    assert mixed.startswith("**Some other systems beat a plain network with triplet loss, but only on real.**")
    assert "On toy, of the two that were run, none is clearly ahead of it." in mixed
    control = shown.others({"toy": good | {"ianet": seeds("danet", 0.8), "ianet/none": seeds("cbam", 0.8)}})
    assert "On toy IANet without its modules has +" in control
    assert "without its modules" not in better
