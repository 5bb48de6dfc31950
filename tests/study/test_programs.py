"""The program of a jitted function, as data."""

import json

import numpy as np
import pytest

import minigrad as mg
from minigrad import kernels, nn, optim
from minigrad.autodiff import Tensor
from minigrad.study import load
from minigrad.study.checked import check_program


def numbers(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def training_step():
    with mg.random.stream(0):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)

    @mg.jit
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.fixture(scope="module")
def record():
    return mg.study(training_step(), numbers(6, 4), np.arange(6) % 3)


@pytest.fixture(scope="module")
def program(record):
    assert record.program_note == ""
    return record.program


def test_it_has_what_the_format_says(program):
    check_program(program, "program")
    assert program["threads"] >= 0
    assert json.loads(json.dumps(program)) == program


def test_calls_and_instructions_name_each_other(program):
    calls, instructions = program["calls"], program["instructions"]
    assert [c["op"] for c in calls].count("linear") == 2
    for i, instruction in enumerate(instructions):
        assert instruction["by"] in ("kernel", "NumPy")
        assert instruction["seconds"] >= 0
        for call in instruction["calls"]:
            other = calls[call]["instruction"]
            assert other is not None
            assert call in instructions[other]["calls"]
        assert instruction["calls"] == sorted(set(instruction["calls"]))
        assert i < len(instructions)
    for i, call in enumerate(calls):
        if call["instruction"] is not None:
            assert i in instructions[call["instruction"]]["calls"]
    if kernels.in_use():
        fused = max(len(instruction["calls"]) for instruction in instructions)
        assert fused > 1, "of a chain one instruction is made"


def test_places_do_not_overlap_while_they_are_in_use(program):
    places, count = program["places"], len(program["instructions"])
    assert places
    for p in places:
        assert -1 <= p["first"] <= p["last"] <= count
        assert p["offset"] + p["size"] <= program["bytes"]
    for i, p in enumerate(places):
        for q in places[:i]:
            apart = p["offset"] + p["size"] <= q["offset"] or q["offset"] + q["size"] <= p["offset"]
            before = p["last"] < q["first"] or q["last"] < p["first"]
            assert apart or before or not (p["size"] and q["size"]), (p, q)


def test_what_an_instruction_reads_is_there(program):
    places = program["places"]
    for i, instruction in enumerate(program["instructions"]):
        for k in instruction["reads"]:
            assert places[k]["first"] <= i <= places[k]["last"], (i, instruction, places[k])
        for k in instruction["writes"]:
            assert places[k]["first"] <= i <= places[k]["last"], (i, instruction, places[k])
    assert any("an argument" in p["what"] for p in places)


def test_ops_of_the_program_are_those_of_the_record(record, program):
    recorded = [record.steps[i].op for i in record.forward]
    assert {"linear", "tanh"} <= set(recorded)
    assert {"linear", "tanh"} <= {c["op"] for c in program["calls"]}


def test_it_is_saved_and_loaded(record, tmp_path):
    record.save(tmp_path / "a.json")
    again = load(tmp_path / "a.json")
    assert again.program == record.program


def test_a_program_of_one_op_and_of_none():
    for f in (
        mg.jit(lambda x: mg.exp(x)),
        mg.jit(lambda x: x),
        mg.jit(lambda x: mg.reshape(x, (-1,))),
    ):
        record = mg.study(f, numbers(2, 2))
        check_program(record.program, "program")


def test_the_users_own_programs_are_as_they_were():
    step = training_step()
    x, y = numbers(6, 4), np.arange(6) % 3
    step(x, y)
    table, last, steps = step.program(), step._last, step.steps
    mg.study(step, x, y)
    assert step._last is last
    assert step.steps == steps
    assert step.program().splitlines()[0] == table.splitlines()[0]
    other = training_step()
    mg.study(other, x, y)
    assert other.steps == []
    assert other.as_it_is == ""


def test_reasons_say_where_without_the_machine():
    @mg.jit
    def step(x):
        return x * float(x.sum())

    record = mg.study(step, Tensor(numbers(3)))
    assert record.program is None
    assert "item()" in record.program_note
    assert "(at tests/study/test_programs.py:" in record.program_note
