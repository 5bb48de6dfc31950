"""Answers to the exercises, as students write them: of each one class, by the exercise's name.

`right` is right. `almost` is right but for a hard case. The others are wrong, each named as the
mistake that it is to be told.
"""

import heapq
import math

import numpy as np

import minigrad as mg

# -------------------------------------------------------------------------------- numbers


class product_rule:
    def right(g, x, y):
        dx = y * g
        dy = x * g
        return dx, dy

    def swapped(g, x, y):
        dx = x * g
        dy = y * g
        return dx, dy

    def no_outer(g, x, y):
        return y, x

    def as_sum(g, x, y):
        return [g, g]

    def sign(g, x, y):
        return g * y, -(g * x)

    def length(g, x, y):
        return (g * y,)

    def almost(g, x, y):
        product = x * y
        return (g * product / x if x else 0.0), g * x


class chain_rule:
    def right(fs, slopes, x):
        if not fs:
            return 1.0
        return slopes[0](x) * chain_rule.right(fs[1:], slopes[1:], fs[0](x))

    def all_at_x(fs, slopes, x):
        result = 1
        for d in slopes:
            result = result * d(x)
        return result

    def added(fs, slopes, x):
        result = 0
        for i in range(len(fs)):
            result += slopes[i](x)
            x = fs[i](x)
        return result

    def one_late(fs, slopes, x):
        result = 1
        for i in range(len(fs)):
            x = fs[i](x)
            result *= slopes[i](x)
        return result

    def last_only(fs, slopes, x):
        result = 1
        for i in range(len(fs)):
            result = slopes[i](x)
            x = fs[i](x)
        return result

    def backwards(fs, slopes, x):
        result = 1
        for i in range(len(fs) - 1, -1, -1):
            result *= slopes[i](x)
            x = fs[i](x)
        return result

    def almost(fs, slopes, x):
        values = [x]
        for f in fs:
            values.append(f(values[-1]))
        result = slopes[0](x)
        for d, v in zip(slopes[1:], values[1:], strict=False):
            result *= d(v)
        return result


class central_difference:
    def right(f, x, h):
        rise = f(x + h) - f(x - h)
        run = (x + h) - (x - h)
        return rise / run

    def forward(f, x, h):
        return (f(x + h) - f(x)) / h

    def half_the_step(f, x, h):
        up, down = f(x + h), f(x - h)
        return (up - down) / h

    def precedence(f, x, h):
        up, down = f(x + h), f(x - h)
        return (up - down) / 2 * h

    def sign(f, x, h):
        return (f(x - h) - f(x + h)) / (2 * h)

    def almost(f, x, h):
        return (f(x + h) - f(x - h)) / (2 * h) if f(x) != 0 else (f(x + h) - f(x)) / h


class expression_backward:
    def right(x, y):
        s, t = x + y, math.sin(x)
        ds, dt = t, s
        dx = ds
        dx += dt * math.cos(x)
        return dx, ds

    def overwritten(x, y):
        s, t = x + y, math.sin(x)
        ds, dt = t, s
        dx = ds
        dy = ds
        dx = dt * math.cos(x)
        return dx, dy

    def no_outer(x, y):
        return math.sin(x) + math.cos(x), math.sin(x)

    def sign_of_cos(x, y):
        s, t = x + y, math.sin(x)
        return t + s * -math.cos(x), t

    def exception(x, y):
        s, t = x + y, sin(x)  # noqa: F821
        return t + s * math.cos(x), t

    def almost(x, y):
        dx = math.sin(x) + (x + y) * abs(math.cos(x))
        return dx, math.sin(x)


# --------------------------------------------------------------------------- broadcasting


class unbroadcast:
    def right(g, shape):
        while g.ndim > len(shape):
            g = g.sum(axis=0)
        for i, n in enumerate(shape):
            if n == 1 and g.shape[i] != 1:
                g = g.sum(axis=i, keepdims=True)
        return g

    def not_summed(g, shape):
        return g + 0.0 if g.dtype == np.float64 else g.copy()

    def leading_only(g, shape):
        while g.ndim > len(shape):
            g = g.sum(axis=0)
        return g

    def ones_only(g, shape):
        for i, n in enumerate(shape):
            if n == 1:
                g = g.sum(axis=i, keepdims=True)
        return g

    def first_copy(g, shape):
        while g.ndim > len(shape):
            g = g[0]
        for i, n in enumerate(shape):
            if n == 1:
                g = g.take([0], axis=i)
        return g

    def almost(g, shape):
        while g.ndim > len(shape):
            g = g.sum(axis=0)
        for i in range(g.ndim):
            if g.shape[i] != shape[i]:
                g = g.mean(axis=i, keepdims=True) * g.shape[i] if i else g.sum(0, keepdims=True)
                break  # more than one may be stretched
        return g if g.shape else g / 2


class mean_rule:
    def right(g, x, axis):
        dx = np.empty_like(x)
        if axis is None:
            dx[...] = g / x.size
        else:
            np.moveaxis(dx, axis, 0)[...] = g / x.shape[axis]
        return dx

    def sum_rule(g, x, axis):
        g = g if axis is None else np.expand_dims(g, axis)
        return np.zeros_like(x) + g

    def no_outer(g, x, axis):
        n = x.size if axis is None else x.shape[axis]
        return np.ones_like(x) / n

    def factor(g, x, axis):
        return 2 * mean_rule.right(g, x, axis)

    def dtype(g, x, axis):
        return np.zeros(x.shape) + mean_rule.right(g, x, axis)

    def exception(g, x, axis):
        return np.zeros_like(x) + np.expand_dims(g, axis) / x.shape[axis]

    def nothing(g, x, axis):
        np.zeros_like(x)

    def almost(g, x, axis):  # no negative axes
        if axis is None:
            return np.full_like(x, g / x.size)
        return np.zeros_like(x) + np.expand_dims(g, abs(axis)) / x.shape[axis]


class affine_rule:
    def right(g, x, w, b):
        dx = np.einsum("...m,dm->...d", g, w)
        dw = np.tensordot(x, g, (range(x.ndim - 1),) * 2) if x.ndim > 1 else np.outer(x, g)
        db = g.sum(axis=tuple(range(g.ndim - 1)))
        return dx, dw, db

    def b_not_summed(g, x, w, b):
        dx, dw, _ = affine_rule.right(g, x, w, b)
        return dx, dw, g.copy()

    def b_mean(g, x, w, b):
        dx, dw, _ = affine_rule.right(g, x, w, b)
        return dx, dw, g.mean(axis=tuple(range(g.ndim - 1)))

    def w_transposed(g, x, w, b):
        dx, dw, db = affine_rule.right(g, x, w, b)
        return dx, dw.transpose(), db

    def overwrites(g, x, w, b):
        found = affine_rule.right(g, x, w, b)
        b -= 0.1 * found[2]
        return found

    def almost(g, x, w, b):  # one axis in front only
        dx, dw, db = affine_rule.right(g, x, w, b)
        return dx, dw, db if g.ndim < 3 else g.sum(axis=0)[0]


# -------------------------------------------------------------------------------- tape


class topological_order:
    def right(parents, output):
        order, done, stack = [], set(), [(output, False)]
        while stack:
            name, finished = stack.pop()
            if finished:
                order.append(name)
            elif name not in done:
                done.add(name)
                stack.append((name, True))
                stack += [(p, False) for p in parents[name]]
        return order[::-1]

    def wrong_way(parents, output):
        return topological_order.right(parents, output)[::-1]

    def too_early(parents, output):
        order, waiting = [], [output]
        for name in waiting:
            if name not in order:
                order.append(name)
                waiting += parents[name]
        return order

    def unreached(parents, output):
        order, remaining = [], dict(parents)
        while remaining:
            for name in list(remaining):
                if not any(name in remaining[other] for other in remaining):
                    order.append(name)
                    del remaining[name]
                    break
        return order

    def repeated(parents, output):
        order, waiting = [], [output]
        for name in waiting:
            order.append(name)
            waiting += parents[name]
        return order

    def recursion(parents, output):
        order = []

        def visit(name):
            if name not in order:
                for parent in parents[name]:
                    visit(parent)
                order.append(name)

        visit(output)
        return order[::-1]

    def missing(parents, output):
        return [output, *dict.fromkeys(parents[output])]

    def almost(parents, output):  # a graph of more than 2000 nodes is cut
        return topological_order.right(parents, output)[:2000]


class backward_tape:
    def right(tape, output):
        grads = {output: 1}
        for i in range(len(tape) - 1, -1, -1):
            name, inputs = tape[i]
            if name not in grads:
                continue
            for source, slope in inputs:
                if source not in grads:
                    grads[source] = 0
                grads[source] += slope * grads[name]
        return grads

    def overwritten(tape, output):
        grads = {output: 1}
        for name, inputs in tape[::-1]:
            if name in grads:
                grads.update({source: slope * grads[name] for source, slope in inputs})
        return grads

    def forward_order(tape, output):
        grads = {output: 1}
        for name, inputs in tape:
            if name in grads:
                for source, slope in inputs:
                    grads[source] = grads.get(source, 0) + slope * grads[name]
        return grads

    def no_outer(tape, output):
        grads = {output: 1}
        for name, inputs in tape[::-1]:
            if name in grads:
                for source, slope in inputs:
                    grads[source] = grads.get(source, 0) + slope
        return grads

    def exception(tape, output):
        grads = {output: 1}
        for name, inputs in tape[::-1]:
            for source, slope in inputs:
                grads[source] = grads.get(source, 0) + slope * grads[name]
        return grads

    def almost(tape, output):  # one op with the same input twice
        grads = {output: 1}
        for name, inputs in tape[::-1]:
            if name in grads:
                for source, slope in dict(inputs).items():
                    grads[source] = grads.get(source, 0) + slope * grads[name]
        return grads


class backward_by_serial:
    def right(output):
        grads, waiting = {output.serial: 1.0}, {output.serial: output}
        heap = [-output.serial]
        while heap:
            serial = -heapq.heappop(heap)
            for source, slope in waiting[serial].inputs:
                if source.serial not in waiting:
                    waiting[source.serial] = source
                    heapq.heappush(heap, -source.serial)
                grads[source.serial] = grads.get(source.serial, 0) + slope * grads[serial]
        return grads

    def every_path(output):
        grads = {output.serial: 1.0}
        stack = [(output, 1.0)]
        while stack:
            node, g = stack.pop()
            for source, slope in node.inputs:
                grads[source.serial] = grads.get(source.serial, 0) + g * slope
                stack.append((source, g * slope))
        return grads

    def too_soon(output):
        grads, seen, queue = {output.serial: 1.0}, {output.serial}, [output]
        for node in queue:
            for source, slope in node.inputs:
                grads[source.serial] = grads.get(source.serial, 0) + slope * grads[node.serial]
                if source.serial not in seen:
                    seen.add(source.serial)
                    queue.append(source)
        return grads

    def oldest_first(output):
        grads, nodes, heap = {output.serial: 1.0}, {output.serial: output}, [output.serial]
        while heap:
            node = nodes[heapq.heappop(heap)]
            for source, slope in node.inputs:
                if source.serial not in nodes:
                    nodes[source.serial] = source
                    heapq.heappush(heap, source.serial)
                grads[source.serial] = grads.get(source.serial, 0) + slope * grads[node.serial]
        return grads

    def recursion(output):
        order, grads = [], {output.serial: 1.0}

        def visit(node):
            if node not in order:
                for source, _ in node.inputs:
                    visit(source)
                order.append(node)

        visit(output)
        for node in reversed(order):
            for source, slope in node.inputs:
                grads[source.serial] = grads.get(source.serial, 0) + slope * grads[node.serial]
        return grads

    def almost(output):  # the same input twice
        grads, waiting = {output.serial: 1.0}, {output.serial: output}
        heap = [-output.serial]
        while heap:
            serial = -heapq.heappop(heap)
            for source, slope in {s.serial: (s, d) for s, d in waiting[serial].inputs}.values():
                if source.serial not in waiting:
                    waiting[source.serial] = source
                    heapq.heappush(heap, -source.serial)
                grads[source.serial] = grads.get(source.serial, 0) + slope * grads[serial]
        return grads


# -------------------------------------------------------------------------------- rules


class sigmoid_rule:
    def right(g, y):
        return (y - y**2) * g

    def no_outer(g, y):
        return y - y**2

    def taken_for_input(g, y):
        s = 1 / (1 + np.exp(-y))
        return g * s * (1 - s)

    def one_factor(g, y):
        return g - g * y

    def sign(g, y):
        return g * y * (y - 1)

    def almost(g, y):
        return g * y * (1 - y) if np.size(y) > 1 else g * y


class tanh_rule:
    def right(g, y):
        return g - g * y**2

    def no_square(g, y):
        return g - g * y

    def no_outer(g, y):
        return 1 - y**2

    def no_history(g, y):
        g, y = np.asarray(getattr(g, "data", g)), np.asarray(getattr(y, "data", y))
        return g * (1 - y**2)

    def second_derivative(g, y):
        if isinstance(y, mg.Tensor):
            y = y.detach()
        return g * (1 - y**2)

    def almost(g, y):
        return g * (1 - y**2) if np.ndim(y) else g * (1 - y)


class max_rule:
    def right(g, x, axis):
        dx = np.zeros_like(x)
        rows, out = np.moveaxis(x, axis, -1), np.moveaxis(dx, axis, -1)
        for at in np.ndindex(rows.shape[:-1]):
            best = [i for i, v in enumerate(rows[at]) if v == max(rows[at])]
            out[at][best] = g[at] / len(best)
        return dx

    def ties_get_all(g, x, axis):
        where = x == np.max(x, axis, keepdims=True)
        return np.where(where, np.expand_dims(g, axis), 0).astype(x.dtype)

    def first_gets_all(g, x, axis):
        dx = np.zeros_like(x)
        rows, out = np.moveaxis(x, axis, -1), np.moveaxis(dx, axis, -1)
        for at in np.ndindex(rows.shape[:-1]):
            out[at][rows[at].argmax()] = g[at]
        return dx

    def no_outer(g, x, axis):
        where = (x == np.max(x, axis, keepdims=True)).astype(x.dtype)
        return where / where.sum(axis, keepdims=True)

    def largest_of_all(g, x, axis):
        return np.expand_dims(g, axis) * (x == x.max()).astype(x.dtype)

    def almost(g, x, axis):  # the number of ties is that of all rows together
        where = (x == np.max(x, axis, keepdims=True)).astype(x.dtype)
        n = where.sum(axis, keepdims=True)
        return np.expand_dims(g, axis) * where / n.max()


class hessian_vector:
    def right(f, x, v):
        return mg.hvp(f, mg.Tensor(x), mg.Tensor(v))

    def not_recorded(f, x, v):
        x = mg.Tensor(x, requires_grad=True)
        g = mg.gradients(f(x), x, retain_graph=True)
        return mg.gradients((g * v).sum(), x)

    def without_v(f, x, v):
        x = mg.Tensor(x, requires_grad=True)
        g = mg.gradients(f(x), x, create_graph=True)
        return mg.gradients(g.sum(), x)

    def v_afterwards(f, x, v):
        x = mg.Tensor(x, requires_grad=True)
        g = mg.gradients(f(x), x, create_graph=True)
        return mg.gradients(g.sum(), x).data * v

    def first_only(f, x, v):
        x = mg.Tensor(x, requires_grad=True)
        return mg.gradients(f(x), x).data * v

    def almost(f, x, v):  # vectors only
        x = mg.Tensor(x, requires_grad=True)
        g = mg.gradients(f(x), x, create_graph=True)
        return mg.gradients((g * v if v.ndim == 1 else (g * v)[0]).sum(), x)


# -------------------------------------------------------------------------------- memory


class what_to_keep:
    def right(op, tracked):
        if op in ("multiply", "matmul"):
            return {other for other, wanted in zip("yx", tracked, strict=True) if wanted}
        if not tracked[0] or op in ("add", "subtract", "sum"):
            return set()
        return {"out"} if op in ("exp", "tanh") else {"x"}

    def everything(op, tracked):
        return {*"xy"[: len(tracked)], "out"}

    def all_inputs(op, tracked):
        return {"x", "y"} if len(tracked) > 1 else {"x"}

    def tracked_ignored(op, tracked):
        if op in ("multiply", "matmul"):
            return {"x", "y"}
        if op in ("add", "subtract", "sum"):
            return set()
        return {"out"} if op in ("exp", "tanh") else {"x"}

    def own_input(op, tracked):
        if op in ("multiply", "matmul"):
            return {name for name, wanted in zip("xy", tracked, strict=True) if wanted}
        return what_to_keep.right(op, tracked)

    def recomputes(op, tracked):
        return {"x"} if op in ("exp", "tanh") and tracked[0] else what_to_keep.right(op, tracked)

    def type(op, tracked):
        return sorted(what_to_keep.right(op, tracked))

    def almost(op, tracked):
        return {"x"} if (op, tracked) == ("sum", (True,)) else what_to_keep.right(op, tracked)


class spoiled:
    def right(events):
        names, writes = [], set()
        for kind, name, *kept in reversed(events):
            if kind == "write":
                writes.add(name)
            elif writes.intersection(kept[0]):
                names.append(name)
        return names

    def forward_order(events):
        return list(reversed(spoiled.right(events)))

    def whenever_written(events):
        writes = [e[1] for e in events if e[0] == "write"]
        return [e[1] for e in events[::-1] if e[0] == "op" and any(a in writes for a in e[2])]

    def written_before(events):
        names, writes = [], set()
        for kind, name, *kept in events:
            if kind == "write":
                writes.add(name)
            elif writes.intersection(kept[0]):
                names.insert(0, name)
        return names

    def almost(events):  # a write is forgotten with the next op
        names, writes = [], set()
        for kind, name, *kept in reversed(events):
            if kind == "write":
                writes.add(name)
            elif writes.intersection(kept[0]):
                names.append(name)
                writes.difference_update(kept[0])
        return names


class checkpointed_backward:
    def right(fs, rules, x, g, every):
        starts = [x]
        for i in range(len(fs) - 1):
            x = fs[i](x)
            if (i + 1) % every == 0:
                starts.append(x)
        end = len(fs)
        while starts:
            first = (len(starts) - 1) * every
            inputs = [starts.pop()]
            for i in range(first, end - 1):
                inputs.append(fs[i](inputs[-1]))
            for i in range(end - 1, first - 1, -1):
                g = rules[i](g, inputs.pop())
            end = first
        return g

    def kept_too_much(fs, rules, x, g, every):
        inputs = []
        for f in fs:
            inputs.append(x)
            x = f(x)
        for rule in reversed(rules):
            g = rule(g, inputs.pop())
        return g

    def from_the_start(fs, rules, x, g, every):
        for i in reversed(range(len(fs))):
            v = x
            for f in fs[:i]:
                v = f(v)
            g = rules[i](g, v)
        return g

    def at_the_output(fs, rules, x, g, every):
        outputs = []
        for f in fs:
            x = f(x)
            outputs.append(x)
        for rule in reversed(rules):
            g = rule(g, outputs.pop())
        return g

    def rules_forward(fs, rules, x, g, every):
        for i in range(len(fs)):
            g = rules[i](g, x)
            x = fs[i](x)
        return g

    def without_g(fs, rules, x, g, every):
        return checkpointed_backward.right(fs, rules, x, g * 0 + 1, every)

    def almost(fs, rules, x, g, every):  # as many functions as `every` at least
        if len(fs) < every:
            fs, rules = fs[: len(fs) // 2 * 2], rules[: len(fs) // 2 * 2]
        return checkpointed_backward.right(fs, rules, x, g, every)


# -------------------------------------------------------------------------------- modules


class named_parameters:
    def right(module):
        found, seen = {}, set()

        def walk(part, path):
            if isinstance(part, np.ndarray):
                if id(part) not in seen:
                    seen.add(id(part))
                    found[".".join(path)] = part
            elif isinstance(part, dict):
                for name, inner in part.items():
                    walk(inner, [*path, name])
            elif isinstance(part, list):
                for i, inner in enumerate(part):
                    walk(inner, [*path, str(i)])

        walk(module, [])
        return found

    def no_prefix(module):
        return {name.split(".")[-1]: a for name, a in named_parameters.right(module).items()}

    def one_level(module):
        return {name: a for name, a in module.items() if isinstance(a, np.ndarray)}

    def lists_ignored(module, prefix="", seen=None):
        found, seen = {}, set() if seen is None else seen
        for name, part in module.items():
            if isinstance(part, dict):
                found.update(named_parameters.lists_ignored(part, prefix + name + ".", seen))
            elif isinstance(part, np.ndarray) and id(part) not in seen:
                seen.add(id(part))
                found[prefix + name] = part
        return found

    def leading_dot(module):
        return {"." + name: a for name, a in named_parameters.right(module).items()}

    def shared_twice(module):
        found = {}

        def walk(part, path):
            if isinstance(part, np.ndarray):
                found[path] = part
            elif isinstance(part, dict | list):
                for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
                    walk(inner, f"{path}.{name}" if path else str(name))

        walk(module, "")
        return found

    def copied(module):
        return {name: a.copy() for name, a in named_parameters.right(module).items()}

    def almost(module):  # equal numbers are taken for the same array
        found = {}
        for name, a in named_parameters.right(module).items():
            if not any(a.shape == b.shape and (a == b).all() for b in found.values()):
                found[name] = a
        return found


class momentum_step:
    def right(w, g, v, lr, momentum):
        if g is None:
            return w, v
        new = g.copy() if v is None else v * momentum + g
        return w - new * lr, new

    def rate_in_v(w, g, v, lr, momentum):
        if g is None:
            return w, v
        v = (0 if v is None else v * momentum) + lr * g
        return w - v, v

    def averaging(w, g, v, lr, momentum):
        if g is None:
            return w, v
        v = (0 if v is None else v * momentum) + (1 - momentum) * g
        return w - lr * v, v

    def absent_as_zero(w, g, v, lr, momentum):
        g = np.zeros_like(w) if g is None else g
        v = g if v is None else v * momentum + g
        return w - lr * v, v

    def uphill(w, g, v, lr, momentum):
        if g is None:
            return w, v
        v = g if v is None else v * momentum + g
        return w + lr * v, v

    def overwrites(w, g, v, lr, momentum):
        if g is None:
            return w, v
        v = g if v is None else v * momentum + g
        w -= lr * v
        return w, v

    def exception(w, g, v, lr, momentum):
        if g is None:
            return w, v
        v = momentum * v + g
        return w - lr * v, v

    def almost(w, g, v, lr, momentum):
        if g is None or not g.any():  # a gradient of 0 is one
            return w, v
        v = g if v is None else v * momentum + g
        return w - lr * v, v


class adam_step:
    def right(w, g, m, v, t, lr, beta1, beta2, eps):
        m = m + (1 - beta1) * (g - m)
        v = v + (1 - beta2) * (g**2 - v)
        mean, spread = m / (1 - beta1**t), v / (1 - beta2**t)
        return w - lr * mean / (spread**0.5 + eps), m, v

    def uncorrected(w, g, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * m / (np.sqrt(v) + eps), m, v

    def eps_inside(w, g, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t) + eps), m, v

    def swapped_betas(w, g, m, v, t, lr, beta1, beta2, eps):
        return adam_step.right(w, g, m, v, t, lr, beta2, beta1, eps)

    def t_from_2(w, g, m, v, t, lr, beta1, beta2, eps):
        return adam_step.right(w, g, m, v, t + 1, lr, beta1, beta2, eps)

    def no_root(w, g, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        return w - lr * (m / (1 - beta1**t)) / (v / (1 - beta2**t) + eps), m, v

    def almost(w, g, m, v, t, lr, beta1, beta2, eps):
        return adam_step.right(w, g, m, v, min(t, 50), lr, beta1, beta2, eps)


class clip_by_global_norm:
    def right(grads, max_norm):
        there = [g.ravel() for g in grads if g is not None]
        norm = float(np.linalg.norm(np.concatenate(there))) if there else 0.0
        if norm <= max_norm:
            return list(grads)
        return [None if g is None else g * (max_norm / norm) for g in grads]

    def each_alone(grads, max_norm):
        found = []
        for g in grads:
            if g is not None:
                norm = float(np.sqrt((g**2).sum()))
                g = g * (max_norm / norm) if norm > max_norm else g
            found.append(g)
        return found

    def always_scaled(grads, max_norm):
        norm = float(np.sqrt(sum(float((g**2).sum()) for g in grads if g is not None)))
        return [None if g is None else g * (max_norm / norm if norm else 1.0) for g in grads]

    def by_element(grads, max_norm):
        return [None if g is None else g.clip(-max_norm, max_norm) for g in grads]

    def exception(grads, max_norm):
        norm = float(np.sqrt(sum(float((g**2).sum()) for g in grads)))
        return [g * min(1.0, max_norm / (norm or 1.0)) for g in grads]

    def overwrites(grads, max_norm):
        norm = float(np.sqrt(sum(float((g**2).sum()) for g in grads if g is not None)))
        for g in grads:
            if g is not None and norm > max_norm:
                g *= max_norm / norm
        return grads

    def almost(grads, max_norm):  # a sum without the negative
        norm = np.sqrt(sum(float((g.clip(0) ** 2).sum()) for g in grads if g is not None))
        return [None if g is None else g * min(1.0, max_norm / float(norm or 1)) for g in grads]


# ----------------------------------------------------------------------------- attention


class stable_softmax:
    def right(x, axis):
        rows = np.moveaxis(x, axis, -1)
        found = np.empty_like(rows)
        for at in np.ndindex(rows.shape[:-1]):
            e = np.exp(rows[at] - max(rows[at]))
            found[at] = e / sum(e)
        return np.moveaxis(found, -1, axis)

    def overflows(x, axis):
        e = np.exp(x)
        return e / np.sum(e, axis=axis, keepdims=True)

    def global_maximum(x, axis):
        e = np.exp(x - np.max(x))
        return e / np.sum(e, axis=axis, keepdims=True)

    def axis_ignored(x, axis):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def lost_axis(x, axis):
        e = np.exp(x - x.max(axis, keepdims=True))
        return e / e.sum(axis)

    def overwrites(x, axis):
        x -= x.max(axis, keepdims=True)
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)

    def almost(x, axis):  # a bound against overflow that is not a maximum
        e = np.exp(np.clip(x, -500, 500 if x.dtype == np.float64 else 50))
        return e / e.sum(axis, keepdims=True)


class softmax_rule:
    def right(g, y, axis):
        gs, ys = np.moveaxis(g, axis, -1), np.moveaxis(y, axis, -1)
        found = np.empty_like(ys)
        for at in np.ndindex(ys.shape[:-1]):
            found[at] = (np.diag(ys[at]) - np.outer(ys[at], ys[at])) @ gs[at]
        return np.moveaxis(found, -1, axis)

    def diagonal_only(g, y, axis):
        return g * (y - y**2)

    def no_normaliser(g, y, axis):
        return y * g

    def sum_of_all(g, y, axis):
        return y * g - y * np.sum(y * g)

    def no_outer_y(g, y, axis):
        return g - np.sum(y * g, axis, keepdims=True)

    def sign(g, y, axis):
        return y * (np.sum(y * g, axis, keepdims=True) - g)

    def almost(g, y, axis):  # no negative axes
        return y * (g - np.sum(y * g, abs(axis), keepdims=True)) * (1 if axis > -2 else 0.999)


class masked_attention:
    def right(q, k, v, mask):
        scores = np.einsum("...td,...sd->...ts", q, k) / np.sqrt(q.dtype.type(q.shape[-1]))
        found = np.zeros((*scores.shape[:-1], v.shape[-1]), v.dtype)
        for at in np.ndindex(scores.shape[:-1]):
            seen = mask[at[-1]]
            if seen.any():
                e = np.exp(scores[at][seen] - scores[at][seen].max())
                found[at] = (e / e.sum()) @ v[(*at[:-1], seen)]
        return found

    def unscaled(q, k, v, mask):
        return masked_attention.right(q * math.sqrt(q.shape[-1]), k, v, mask)

    def inverted(q, k, v, mask):
        return masked_attention.right(q, k, v, np.logical_not(mask))

    def nan_row(q, k, v, mask):
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores[..., ~mask] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True) @ v

    def mean_of_hidden(q, k, v, mask):
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        scores[..., ~mask] = -1e9
        p = np.exp(scores - scores.max(-1, keepdims=True))
        return p / p.sum(-1, keepdims=True) @ v

    def masked_afterwards(q, k, v, mask):
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        p[..., ~mask] = 0
        return p @ v

    def zero_scores(q, k, v, mask):
        scores = q @ k.mT / math.sqrt(q.shape[-1]) * mask
        p = np.exp(scores - scores.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True)).astype(q.dtype) @ v

    def almost(q, k, v, mask):  # no axes in front
        found = masked_attention.right(q, k, v, mask)
        return np.broadcast_to(found[:1], found.shape) if q.ndim > 2 else found


class streamed_attention:
    def right(blocks):
        top, weight, total = None, 0.0, 0.0
        for scores, values in blocks:
            highest = scores.max()
            if highest == -np.inf:
                continue
            if top is None:
                top = highest
            elif highest > top:
                shrink = np.exp(top - highest)
                weight, total, top = weight * shrink, total * shrink, highest
            p = np.exp(scores - top)
            weight, total = weight + p.sum(), total + p @ values
        return total / weight

    def not_rescaled(blocks):
        top, weight, total = -np.inf, 0.0, 0.0
        for scores, values in blocks:
            top = max(top, scores.max())
            if top > -np.inf:
                p = np.exp(scores - top)
                weight, total = weight + p.sum(), total + p @ values
        return total / weight

    def overflows(blocks):
        weight, total = 0.0, 0.0
        for scores, values in blocks:
            p = np.exp(scores)
            weight, total = weight + p.sum(), total + p @ values
        return total / weight

    def hidden_first(blocks):
        top, weight, total = -np.inf, 0.0, 0.0
        for scores, values in blocks:
            new = np.maximum(top, scores.max())
            shrink = np.exp(top - new)
            p = np.exp(scores - new)
            weight, total, top = weight * shrink + p.sum(), total * shrink + p @ values, new
        return total / weight

    def softmax_per_block(blocks):
        parts = []
        for scores, values in blocks:
            p = np.exp(scores - scores.max())
            parts.append(p / p.sum() @ values)
        return sum(parts) / len(parts)

    def second_pass(blocks):
        top = max(scores.max() for scores, _ in blocks)
        weight = sum(np.exp(scores - top).sum() for scores, _ in blocks)
        return sum(np.exp(scores - top) @ values for scores, values in blocks) / weight

    def kept_all(blocks):
        blocks = list(blocks)
        scores = np.concatenate([s for s, _ in blocks])
        p = np.exp(scores - scores.max())
        return p @ np.concatenate([v for _, v in blocks]) / p.sum()

    def values_not_rescaled(blocks):
        top, weight, total = -np.inf, 0.0, 0.0
        for scores, values in blocks:
            new = max(top, scores.max())
            if new > -np.inf:
                p = np.exp(scores - new)
                weight, total, top = weight * np.exp(top - new) + p.sum(), total + p @ values, new
        return total / weight

    def almost(blocks):  # the first maximum is enough, unless exp overflows
        top, weight, total = None, 0.0, 0.0
        for scores, values in blocks:
            if scores.max() > -np.inf:
                top = scores.max() if top is None else top
                p = np.exp(np.minimum(scores - top, 1.5))
                weight, total = weight + p.sum(), total + p @ values
        return total / weight


# -------------------------------------------------------------------------------- vmap


class batch_in_front:
    def right(x, in_axis, size):
        if in_axis is None:
            return np.stack([x] * size)
        return np.stack([x.take(i, axis=in_axis) for i in range(size)])

    def swapped(x, in_axis, size):
        return np.stack([x] * size) if in_axis is None else x.swapaxes(0, in_axis)

    def reshaped(x, in_axis, size):
        if in_axis is None:
            return np.stack([x] * size)
        rest = [n for i, n in enumerate(x.shape) if i != in_axis % x.ndim]
        return x.reshape([size, *rest])

    def none_ignored(x, in_axis, size):
        return x if in_axis is None else np.moveaxis(x, in_axis, 0)

    def only_one(x, in_axis, size):
        return np.expand_dims(x, 0) if in_axis is None else np.moveaxis(x, in_axis, 0)

    def almost(x, in_axis, size):  # no negative axes
        if in_axis is None:
            return np.stack([x] * size)
        axes = [in_axis, *(i for i in range(x.ndim) if i != in_axis)]
        return x.transpose(axes) if in_axis >= 0 else x


class hidden_matmul:
    def right(x, w, x_batched, w_batched):
        if not (x_batched or w_batched):
            return x @ w
        n = len(x) if x_batched else len(w)
        return np.stack([(x[i] if x_batched else x) @ (w[i] if w_batched else w) for i in range(n)])

    def taken_for_visible(x, w, x_batched, w_batched):
        return np.matmul(x, w)

    def first_w(x, w, x_batched, w_batched):
        if w_batched:
            w = w[0]
        return np.stack([row @ w for row in x]) if x_batched else x @ w

    def every_pair(x, w, x_batched, w_batched):
        if x_batched and w_batched:
            return np.stack([np.stack([a @ b for b in w]) for a in x])
        return hidden_matmul.right(x, w, x_batched, w_batched)

    def transposed(x, w, x_batched, w_batched):
        return hidden_matmul.right(x, w, x_batched, w_batched).T

    def almost(x, w, x_batched, w_batched):  # vectors with vectors
        if x_batched and w_batched and x.ndim == w.ndim == 2:
            return (x @ w.T)[0]
        return hidden_matmul.right(x, w, x_batched, w_batched)


class loop_vmap:
    def right(f, in_axes, args):
        n = next(x.shape[a] for x, a in zip(args, in_axes, strict=True) if a is not None)
        results = []
        for i in range(n):
            one = [x if a is None else x.take(i, a) for x, a in zip(args, in_axes, strict=True)]
            results.append(f(*one))
        if isinstance(results[0], tuple):
            return tuple(np.array([r[j] for r in results]) for j in range(len(results[0])))
        return np.array(results)

    def always_first(f, in_axes, args):
        in_axes = [a if a is None else 0 for a in in_axes]
        return loop_vmap.right(f, in_axes, args)

    def none_as_0(f, in_axes, args):
        return loop_vmap.right(f, [a or 0 for a in in_axes], args)

    def summed(f, in_axes, args):
        found = loop_vmap.right(f, in_axes, args)
        if isinstance(found, tuple):
            return tuple(part.sum(axis=0) for part in found)
        return found.sum(axis=0)

    def not_stacked(f, in_axes, args):
        found = loop_vmap.right(f, in_axes, args)
        return (
            list(map(float, found)) if isinstance(found, np.ndarray) and found.ndim < 2 else found
        )

    def exception(f, in_axes, args):
        n = args[0].shape[in_axes[0]]
        return np.stack([f(*(x.take(i, a) for x, a in zip(args, in_axes, strict=True)))
                         for i in range(n)])  # fmt: skip

    def almost(f, in_axes, args):  # one result
        found = loop_vmap.right(f, in_axes, args)
        return found[0] if isinstance(found, tuple) else found


# -------------------------------------------------------------------------------- kernels


class fused_multiply_add:
    def right(a, x, y, out):
        for i, (p, q) in enumerate(zip(x, y, strict=True)):
            out[i] = p * a + q
        return out

    def not_into_out(a, x, y, out):
        out = a * x + y
        return out

    def temporaries(a, x, y, out):
        out[:] = a * x + y
        return out

    def destroyed(a, x, y, out):
        np.multiply(x, a, out=out)
        out += y
        return out

    def not_returned(a, x, y, out):
        for i in range(len(out)):
            out[i] = a * x[i] + y[i]

    def added_to_out(a, x, y, out):
        for i in range(len(out)):
            out[i] += a * x[i] + y[i]
        return out

    def almost(a, x, y, out):
        for i in range(len(out)):
            out[i] = a * x[i]
            out[i] += y[i]
        return out


class share_buffers:
    def right(instructions, outputs):
        last = {}
        for i, (name, inputs) in enumerate(instructions):
            last[name] = i
            last.update(dict.fromkeys(inputs, i))
        plan, busy = {}, {}  # busy: {buffer: value}
        for i, (name, _) in enumerate(instructions):
            for buffer, value in list(busy.items()):
                if last[value] < i and value not in outputs:
                    del busy[buffer]
            buffer = next(b for b in range(len(instructions)) if b not in busy)
            plan[name], busy[buffer] = buffer, name
        return plan

    def too_many(instructions, outputs):
        return {name: i for i, (name, _) in enumerate(instructions)}

    def read_and_written(instructions, outputs):
        return {name: 0 for name, _ in instructions}

    def still_needed(instructions, outputs):
        return {name: i % 2 for i, (name, _) in enumerate(instructions)}

    def output_lost(instructions, outputs):
        return share_buffers.right(instructions, [])

    def keys(instructions, outputs):
        plan = share_buffers.right(instructions, outputs)
        plan.update({n: -1 for _, inputs in instructions for n in inputs if n not in plan})
        return plan

    def almost(instructions, outputs):  # a value that nobody reads has no buffer of its own
        read = {n for _, inputs in instructions for n in inputs} | set(outputs)
        plan = share_buffers.right([i for i in instructions if i[0] in read], outputs)
        return plan | {n: 0 for n, _ in instructions if n not in read}


class can_overwrite:
    def right(instructions, i, name, kept):
        if name not in instructions[i][2] or name in kept:
            return False
        if instructions[i][1] in ("matmul", "sum"):
            return False
        for _, _, inputs in instructions[i + 1 :]:
            if name in inputs:
                return False
        return name in [made for made, _, _ in instructions[:i]]

    def always(instructions, i, name, kept):
        return True

    def later_reads(instructions, i, name, kept):
        _, op, inputs = instructions[i]
        made = {r for r, _, _ in instructions[:i]}
        return name in inputs and name in made and name not in kept and op not in ("sum", "matmul")

    def kept_forgotten(instructions, i, name, kept):
        return can_overwrite.right(instructions, i, name, [])

    def not_elementwise(instructions, i, name, kept):
        plain = [(result, "add", inputs) for result, _, inputs in instructions]
        return can_overwrite.right(plain, i, name, kept)

    def callers_input(instructions, i, name, kept):
        return can_overwrite.right([(name, "add", []), *instructions], i + 1, name, kept)

    def nothing(instructions, i, name, kept):
        if can_overwrite.right(instructions, i, name, kept):
            print("yes")

    def almost(instructions, i, name, kept):  # the last instruction
        return i == len(instructions) - 1 or can_overwrite.right(instructions, i, name, kept)


# ----------------------------------------------------------------------------------- gpu


class normalise:
    def right(xp, x, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        var = (centred**2).mean(axis=-1, keepdims=True)
        return centred / xp.sqrt(var + eps)

    def mixed(xp, x, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)

    def transfers(xp, x, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        var = (centred**2).mean(axis=-1, keepdims=True)
        if (var + eps > 0).min():
            centred = centred / xp.sqrt(var + eps)
        return centred

    def eps_outside(xp, x, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / (xp.sqrt((centred**2).mean(axis=-1, keepdims=True)) + eps)

    def n_minus_1(xp, x, eps):
        var = x.var(axis=-1, keepdims=True, ddof=1)
        return (x - x.mean(axis=-1, keepdims=True)) / xp.sqrt(var + eps)

    def over_everything(xp, x, eps):
        return (x - x.mean()) / xp.sqrt(x.var() + eps)

    def almost(xp, x, eps):
        if x.size == x.shape[-1] or x.ndim == 2:
            return normalise.right(xp, x, eps)
        return normalise.right(xp, x.reshape(-1, x.shape[-1]), eps)


class mean_loss:
    def right(xp, predictions, targets):
        y, t = xp.concatenate(predictions), xp.concatenate(targets)
        return float(xp.mean((y - t) ** 2))

    def transfers(xp, predictions, targets):
        total, count = 0.0, 0
        for y, t in zip(predictions, targets, strict=True):
            total += float(((y - t) ** 2).sum())
            count += y.size
        return total / count

    def mean_of_means(xp, predictions, targets):
        losses = [((y - t) ** 2).mean() for y, t in zip(predictions, targets, strict=True)]
        return float(sum(losses) / len(losses))

    def not_fetched(xp, predictions, targets):
        return xp.mean((xp.concatenate(predictions) - xp.concatenate(targets)) ** 2)

    def mixed(xp, predictions, targets):
        return float(np.mean((np.concatenate(predictions) - np.concatenate(targets)) ** 2))

    def not_divided(xp, predictions, targets):
        y, t = xp.concatenate(predictions), xp.concatenate(targets)
        return float(((y - t) ** 2).sum())

    def last_batch(xp, predictions, targets):
        for y, t in zip(predictions, targets, strict=True):
            loss = ((y - t) ** 2).mean()
        return float(loss)

    def almost(xp, predictions, targets):  # as if all batches were as large as the first
        total = sum(((y - t) ** 2).sum() for y, t in zip(predictions, targets, strict=True))
        return float(total) / (len(predictions) * len(predictions[0]))


class count_launches:
    def right(kinds):
        kinds = [kind for kind in kinds if kind != "view"]
        count = 0
        for before, kind in zip([None, *kinds], kinds, strict=False):
            if kind == "matmul" or before != "elementwise":
                count += 1
        return count

    def each_op(kinds):
        return len(kinds)

    def views_counted(kinds):
        return count_launches.right(kinds) + kinds.count("view")

    def reduce_alone(kinds):
        kinds = [kind for kind in kinds if kind != "view"]
        count = 0
        for before, kind in zip([None, *kinds], kinds, strict=False):
            if kind != "elementwise" or before != "elementwise":
                count += 1
        return count

    def into_matmul(kinds):
        kinds = [kind for kind in kinds if kind != "view"]
        return sum(before != "elementwise" for before in [None, *kinds][: len(kinds)])

    def ended_by_view(kinds):
        count, before = 0, None
        for kind in kinds:
            if kind != "view" and (kind == "matmul" or before != "elementwise"):
                count += 1
            before = kind
        return count

    def almost(kinds):
        return count_launches.right(kinds) or 1
