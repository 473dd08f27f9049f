"""The functions of the stand-in, with names and arguments of a binding."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import NamedTuple

from .arithmetic import memory, multiply, scalar
from .descriptors import Desc, Layout, Preference, Store, set_attribute
from .errors import INTERNAL_ERROR, NOT_SUPPORTED, demand
from .rules import E4M3, E5M2, Matmul, check_preference, check_problem, describe, dtype_of, extent, overlap


class Handle:
    """The library's context."""


class Algorithm(NamedTuple):
    """The choice of a heuristic, and the problem that it is for.

    Attributes:
        fingerprint: the product.
        alignments: what was promised for A, B, C and D.
        pointers: addresses of the vector and the auxiliary matrix, whose alignment it may rely on.
        splits: whether it may add parts of a sum in the type of the result.
        workspace: bytes that it needs.
    """

    fingerprint: tuple[object, ...]
    alignments: tuple[int, int, int, int]
    pointers: tuple[int, int]
    splits: bool
    workspace: int


Work = Callable[[], None]
Stretches = list[tuple[int, int]]
"""Memory, each (address, bytes)."""


class FakeCublasLt:
    """A stand-in for cuBLASLt; see the package.

    Args:
        capturing: whether any stream is captured.
        submit: puts work on a stream, given by its handle, with the memory that it reads and that it writes; runs it at
            once by default.
        unsupported: products for which the heuristic finds no algorithm.
        workspace: bytes that each algorithm asks for.
        capability: compute capability of the device: below 8.9 there is no algorithm for operands of 8 bits.
        memory_at: the block of memory that an address is in, if anybody knows. Once a block is freed, another one may
            have its address.

    Attributes:
        heuristics: how often an algorithm was chosen.
        products: how many products ran.
        latest: the latest product in words.
        attributes: every attribute that was set: the kind of descriptor, the attribute's number, and its bytes.
    """

    __name__ = "FakeCublasLt"

    def __init__(
        self,
        *,
        capturing: Callable[[], bool] = lambda: False,
        submit: Callable[[int, Work, Stretches, Stretches], None] = lambda stream, work, reads, writes: work(),
        unsupported: Callable[[Matmul], bool] = lambda product: False,
        workspace: int = 4096,
        capability: Callable[[], str] = lambda: "90",
        memory_at: Callable[[int], object] = lambda address: None,
    ) -> None:
        self._store, self._algorithms = Store(), dict[int, Algorithm]()
        self._capturing, self._submit, self._unsupported, self._workspace = capturing, submit, unsupported, workspace
        self._memory_at, self._capability = memory_at, capability
        self._workspaces: dict[int, tuple[int, Callable[[], object]]] = {}  # address -> stream, and its block if alive
        self.heuristics = self.products = 0
        self.latest = ""
        self.attributes: set[tuple[str, int, int]] = set()

    def alive(self) -> list[str]:
        """The kinds of descriptors and handles that were not destroyed."""
        return self._store.alive()

    def create(self) -> int:
        """See ``cublaslt_ctypes``."""
        return self._store.add(Handle())

    def destroy(self, handle: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._store.remove(handle, Handle)

    def matmul_desc_create(self, compute_type: int, scale_type: int) -> int:
        """See ``cublaslt_ctypes``."""
        return self._store.add(Desc(compute_type, scale_type))

    def matmul_desc_destroy(self, desc: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._store.remove(desc, Desc)

    def matmul_desc_set_attribute(self, desc: int, attribute: int, buffer: int, nbytes: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._set(desc, Desc, attribute, buffer, nbytes)

    def matrix_layout_create(self, data_type: int, rows: int, columns: int, leading: int) -> int:
        """See ``cublaslt_ctypes``."""
        dtype_of(data_type)
        return self._store.add(Layout({0: data_type, 2: rows, 3: columns, 4: leading}))

    def matrix_layout_destroy(self, layout: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._store.remove(layout, Layout)

    def matrix_layout_set_attribute(self, layout: int, attribute: int, buffer: int, nbytes: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._set(layout, Layout, attribute, buffer, nbytes)

    def matmul_preference_create(self) -> int:
        """See ``cublaslt_ctypes``."""
        return self._store.add(Preference())

    def matmul_preference_destroy(self, preference: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._store.remove(preference, Preference)

    def matmul_preference_set_attribute(self, preference: int, attribute: int, buffer: int, nbytes: int) -> None:
        """See ``cublaslt_ctypes``."""
        self._set(preference, Preference, attribute, buffer, nbytes)

    def matmul_algo_get_heuristic(
        self, handle: int, desc: int, a: int, b: int, c: int, d: int, preference: int, count: int, results: int,
        returned: int,
    ) -> None:  # fmt: skip
        """See ``cublaslt_ctypes``."""
        self._store.get(handle, Handle)
        demand(not self._capturing(), "a heuristic during capture", INTERNAL_ERROR)
        demand(count > 0, "no algorithm was asked for")
        product, wishes = self._product(desc, a, b, c, d), self._store.get(preference, Preference)
        check_problem(product)
        check_preference(wishes)
        self.heuristics += 1
        old = {product.a.type, product.b.type} & {E4M3, E5M2} and int(self._capability()) < 89
        demand(not (old or self._unsupported(product)), "no algorithm", NOT_SUPPORTED)
        needed = min(self._workspace, wishes.values.get(1, 0))
        promised = tuple(wishes.alignment(matrix) for matrix in "abcd")
        number = len(self._algorithms) + 1
        splits = bool(wishes.values.get(3, 7) & 5)  # reduction schemes INPLACE and OUTPUT_TYPE
        pointers = product.desc.values.get(8, 0), product.desc.values.get(11, 0)
        chosen = Algorithm(product.fingerprint(), promised, pointers, splits, needed)  # type: ignore[arg-type]
        self._algorithms[number] = chosen
        result = memory(results, 96)
        ctypes.c_uint64.from_buffer(result, 0).value = number
        ctypes.c_size_t.from_buffer(result, 64).value = needed
        ctypes.c_int.from_buffer(result, 72).value = 0
        ctypes.c_int.from_address(returned).value = 1

    def matmul(
        self, handle: int, desc: int, alpha: int, a: int, a_layout: int, b: int, b_layout: int, beta: int, c: int,
        c_layout: int, d: int, d_layout: int, algo: int, workspace: int, workspace_bytes: int, stream: int,
    ) -> None:  # fmt: skip
        """See ``cublaslt_ctypes``."""
        self._store.get(handle, Handle)
        product = self._product(desc, a_layout, b_layout, c_layout, d_layout)
        check_problem(product)
        demand(algo, "no algorithm was given, and the implicit choice is not allowed here")
        chosen = self._algorithms.get(ctypes.c_uint64.from_address(algo).value)
        demand(chosen is not None, "the algorithm comes from no heuristic")
        assert chosen is not None
        demand(chosen.fingerprint == product.fingerprint(), "the algorithm was chosen for another product")
        self._check_addresses(product, chosen, (a, b, c, d))
        demand(workspace_bytes >= chosen.workspace, f"the workspace has {workspace_bytes} < {chosen.workspace} bytes")
        if chosen.workspace:
            demand(workspace and workspace % 256 == 0, "the workspace is not aligned to 256 bytes")
            owner = self._owner(workspace, stream)
            demand(owner == stream, f"streams {owner} and {stream} share a workspace")
            for name, address, layout in zip("ABCD", (a, b, c, d), product[1:], strict=True):
                shared = overlap((workspace, workspace_bytes), (address, extent(layout)))
                demand(not shared, f"the workspace overlaps {name}")
        frozen = product._replace(desc=Desc(product.desc.compute, product.desc.scale, dict(product.desc.values)))
        factors = scalar(alpha, product.desc), scalar(beta, product.desc)

        def work() -> None:
            self.products += 1
            multiply(frozen, factors[0], a, b, factors[1], c, d, splits=chosen.splits)
            if chosen.workspace:  # whatever lay there is gone
                ctypes.memset(workspace, 0xFF, workspace_bytes)

        self.latest = describe(frozen, factors[1] != 0)
        reads = [(a, extent(product.a)), (b, extent(product.b))]
        reads += [(pointer, 4) for number in (17, 18) if (pointer := product.desc.values.get(number))]
        writes = [(d, extent(product.d))]
        for pointer in (product.desc.values.get(8), product.desc.values.get(11)):
            writes += [(pointer, 1)] if pointer else []
        self._submit(stream, work, reads, writes)

    def _owner(self, workspace: int, stream: int) -> int:
        """The stream that used a workspace first; that of another block at the same address, long freed, counts not."""
        block = self._memory_at(workspace)
        if workspace in self._workspaces and self._workspaces[workspace][1]() is block:
            return self._workspaces[workspace][0]
        self._workspaces[workspace] = stream, (lambda: None) if block is None else weakref.ref(block)
        return stream

    def _check_addresses(self, product: Matmul, chosen: Algorithm, addresses: tuple[int, int, int, int]) -> None:
        for name, address, layout, promised in zip("ABCD", addresses, product[1:], chosen.alignments, strict=True):
            demand(address, f"{name} is a null pointer")
            size = dtype_of(layout.type).itemsize
            steps = address | (layout.stride * size if layout.batch > 1 else 0)
            demand(steps % size == 0, f"{name} is not aligned to its numbers")
            demand(steps % promised == 0, f"{name} is not aligned to {promised} bytes, as was promised")
        a, b, c, d = ((address, extent(x)) for address, x in zip(addresses, product[1:], strict=True))
        demand(c[0] != d[0] or product.c.values == product.d.values, "C is D in place, but their layouts differ")
        demand(c[0] == d[0] or not overlap(c, d), "C and D overlap without being the same")
        values = product.desc.values
        demand(not overlap(a, d) and not overlap(b, d), "D overlaps A or B")
        if product.a.type in (E4M3, E5M2):
            aligned = all(address % 16 == 0 for address in addresses)
            demand(aligned, "with 8 bits, matrices are aligned to 16 bytes", NOT_SUPPORTED)
        for pointer, before in zip((values.get(8, 0), values.get(11, 0)), chosen.pointers, strict=True):
            aligned = not before or pointer % min(before & -before, 256) == 0
            demand(aligned, "a vector is less aligned than in the heuristic")
            demand(not (d[0] <= pointer < d[0] + d[1]), "D overlaps the bias or the auxiliary matrix")

    def _product(self, desc: int, a: int, b: int, c: int, d: int) -> Matmul:
        layouts = (self._store.get(layout, Layout) for layout in (a, b, c, d))
        return Matmul(self._store.get(desc, Desc), *layouts)

    def _set(
        self, handle: int, kind: type[Desc | Layout | Preference], attribute: int, buffer: int, nbytes: int
    ) -> None:
        set_attribute(self._store.get(handle, kind), attribute, buffer, nbytes)
        self.attributes.add((kind.__name__, attribute, nbytes))
