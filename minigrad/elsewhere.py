"""Names that people look for here and do not find: what to use instead, or why there is nothing.

A dictionary for each library that they come from. It is read when an attribute is missing, and
never before; `tests/test_elsewhere.py` holds it against that library: every public name is here, or
in the dictionary, and none is in both.
"""


def missing(namespace: str, name: str) -> str:
    """The message for a `name` that `namespace` does not have.

    Args:
        namespace: where it was looked for: a key of `PLACES`.
    """
    for library in PLACES[namespace]:
        if (answer := SECTIONS[library].get(name)) is not None:
            return f"{namespace} has no '{name}' ({library}.{name}): {answer}"
    return f"{namespace} has no '{name}'"


def _each(names: str, answer: str) -> dict[str, str]:
    """One answer for several names."""
    return dict.fromkeys(names.split(), answer)


# ---------------------------------------------------------------------------- NumPy: functions

_REAL = "numbers are real here; keep real and imaginary part as two arrays"
_DTYPE = "dtypes are NumPy's: write np.float32, or 'float32' as text"
_OF_NUMPY = "ask NumPy: it is about shapes, dtypes or settings, and computes nothing"
_FILES = "read with NumPy, then mg.asarray(array)"
_SAVE = "minigrad.runs.save_arrays(path, arrays) writes safetensors"
_DATES = "there are no dates; make numbers of them first"
_WRITES = "nothing is changed in place; use "
_LAYOUT = "how an array lies in memory is not for the ops to ask; use x.data, the array"

NUMPY: dict[str, str] = {
    # numbers and types
    **_each("e euler_gamma inf nan pi", "the constants are NumPy's and Python's numbers: np.pi"),
    **_each("True_ False_", "write True, False"),
    "newaxis": "write None, as in x[:, None]",
    **_each(
        "bool bool_ byte double float16 float32 float64 half int16 int32 int64 int8 int_ intc intp "
        "long longlong short single ubyte uint uint16 uint32 uint64 uint8 uintc uintp ulong "
        "ulonglong ushort dtype",
        _DTYPE,
    ),
    **_each("float128 longdouble", "floats have 16, 32 or 64 bits"),
    **_each(
        "cdouble clongdouble complex128 complex256 complex64 csingle complexfloating angle conj "
        "conjugate imag real real_if_close iscomplex iscomplexobj isreal isrealobj sort_complex",
        _REAL,
    ),
    **_each(
        "bytes_ character flexible object_ str_ void record recarray rec char strings",
        "tensors hold floats, integers and booleans only",
    ),
    **_each(
        "datetime64 timedelta64 busday_count busday_offset busdaycalendar is_busday isnat "
        "datetime_as_string datetime_data",
        _DATES,
    ),
    **_each(
        "floating generic inexact integer number signedinteger unsignedinteger ScalarType "
        "sctypeDict typecodes typename little_endian broadcast_shapes can_cast common_type finfo "
        "iinfo isdtype issubdtype min_scalar_type mintypecode promote_types result_type "
        "get_include get_printoptions set_printoptions printoptions getbufsize setbufsize geterr "
        "seterr geterrcall seterrcall errstate show_runtime info test exceptions dtypes typing lib "
        "core ctypeslib f2py",
        _OF_NUMPY,
    ),
    "ndarray": "mg.Tensor is the class, mg.tensor makes one",
    **_each("matrix asmatrix bmat", "a matrix is a tensor of two axes; use @, and mg.block"),
    "memmap": "np.memmap(...), then mg.from_numpy(array), which shares its memory",
    "ma": "use mg.where with a mask, or mg.nansum and its kind",
    "emath": f"{_REAL}; mg.sqrt(-1) is NaN",
    **_each("polynomial poly1d", "mg.vander and @ evaluate one, mg.linalg.lstsq fits one"),
    # making
    "array": "use mg.tensor for a copy without history, mg.asarray to keep the history",
    **_each("asanyarray ascontiguousarray asfortranarray require", "use mg.asarray"),
    "asarray_chkfinite": "use mg.asarray, and mg.isfinite(x).all()",
    "copy": "x.copy() is without history; mg.positive(x) keeps it",
    "frombuffer": "np.frombuffer(...), then mg.from_numpy(array), which shares the memory",
    **_each("fromfile fromiter fromregex fromstring genfromtxt load loadtxt", _FILES),
    **_each("save savetxt savez savez_compressed", _SAVE),
    **_each("fromfunction indices mgrid ogrid", "use mg.meshgrid, with indexing='ij'"),
    **_each("index_exp s_", "np.s_ makes indices that tensors take"),
    "geomspace": "use mg.exp(mg.linspace(log_start, log_stop, num))",
    "logspace": "use base ** mg.linspace(start, stop, num)",
    **_each(
        "bartlett blackman hamming hanning kaiser",
        "a window is a constant: mg.asarray(np.hanning(n))",
    ),
    **_each("diag_indices diag_indices_from", "use i = mg.arange(n); x[i, i]"),
    "tril_indices_from": "use mg.tril_indices(n, k, m), with n, m = x.shape",
    "triu_indices_from": "use mg.triu_indices(n, k, m), with n, m = x.shape",
    "mask_indices": "use mg.nonzero(mask), or mg.tril_indices",
    "ix_": "use x[i[:, None], j]",
    # writing
    "fill_diagonal": _WRITES + "mg.where(mg.eye(n) == 1, value, x)",
    **_each("copyto putmask", _WRITES + "mg.where(mask, values, x)"),
    "place": _WRITES + "mg.where(mask, value, x), or mg.index_set for values in order",
    "put": _WRITES + "mg.index_set(x.ravel(), ids, values).reshape(x.shape)",
    # moving
    "resize": "use mg.reshape; mg.tile or mg.pad for more elements",
    "row_stack": "NumPy has given this name up; use mg.vstack",
    "trim_zeros": "the shape would hang on values; slice with x[start:stop]",
    # elements
    "bitwise_count": "count on the host: np.bitwise_count(x.numpy())",
    "fix": "use mg.trunc",
    "frexp": "use exponent = mg.floor(mg.log2(mg.abs(x))) + 1; x / 2**exponent",
    "gcd": "of integers on the host: np.gcd(a.numpy(), b.numpy())",
    "lcm": "of integers on the host: np.lcm(a.numpy(), b.numpy())",
    "i0": "there is no Bessel function; scipy.special.i0, with minigrad.primitive for its rule",
    "ldexp": "use x * 2.0**i",
    "modf": "use whole = mg.trunc(x); x - whole",
    **_each("nextafter spacing", "it has no useful derivative; of x.detach().numpy() by NumPy"),
    "unwrap": "d = mg.diff(x); jumps are mg.round(d / period); take period * mg.cumsum(jumps) away",
    "array_equiv": "use mg.array_equal of mg.broadcast_arrays(a, b)",
    "choose": "use mg.select, or mg.take_along_axis of mg.stack(choices)",
    "piecewise": "use mg.select(conditions, values)",
    **_each("packbits unpackbits", "use mg.left_shift and mg.bitwise_and"),
    # along axes
    **_each("apply_along_axis vectorize frompyfunc", "use mg.vmap(function)"),
    "apply_over_axes": "reductions take several axes: mg.sum(x, axis=(0, 2))",
    "ediff1d": "use mg.diff(mg.ravel(x))",
    "nanargmax": "use mg.argmax(mg.where(mg.isnan(x), -np.inf, x), axis)",
    "nanargmin": "use mg.argmin(mg.where(mg.isnan(x), np.inf, x), axis)",
    "einsum_path": "mg.einsum chooses the order of its products by itself",
    # sets
    "intersect1d": "a = mg.unique(a); a[mg.isin(a, b)]",
    "setdiff1d": "a = mg.unique(a); a[mg.isin(a, b, invert=True)]",
    "setxor1d": "of mg.unique(a) and mg.unique(b) those that mg.isin does not find in the other",
    "union1d": "use mg.unique(mg.concatenate([a.ravel(), b.ravel()]))",
    "unique_all": "use mg.unique(x, return_index=True, return_inverse=True, return_counts=True)",
    "unique_counts": "use mg.unique(x, return_counts=True)",
    "unique_inverse": "use mg.unique(x, return_inverse=True)",
    "unique_values": "use mg.unique(x)",
    # histograms, polynomials
    "histogram_bin_edges": "use mg.histogram(x, bins)[1]",
    **_each(
        "histogram2d histogramdd",
        "number the bins with mg.digitize along each axis, then mg.bincount",
    ),
    **_each("poly roots", "the roots of a polynomial are complex in general; use NumPy"),
    **_each("polyadd polysub", "add and subtract the coefficients, padded by mg.pad"),
    **_each("polyder polyint", "multiply or divide the coefficients by mg.arange"),
    **_each("polydiv", "divide on the host: np.polydiv"),
    "polyfit": "use mg.linalg.lstsq(mg.vander(x, degree + 1), y)[0]",
    "polymul": "use mg.convolve(a, b)",
    "polyval": "use mg.vander(x, len(p)) @ p",
    # what an array is
    "isfortran": _LAYOUT,
    **_each("may_share_memory shares_memory", "np.shares_memory(a.data, b.data)"),
    "isscalar": "write x.ndim == 0",
    "iterable": "write x.ndim > 0",
    "ndim": "write x.ndim",
    "shape": "write x.shape",
    "size": "write x.size",
    **_each(
        "ndindex ndenumerate nditer nested_iters flatiter broadcast ufunc",
        "write with whole arrays, or mg.vmap; np.ndindex(x.shape) counts indices",
    ),
    **_each(
        "array2string array_repr array_str base_repr binary_repr format_float_positional "
        "format_float_scientific",
        "text is made from x.detach().numpy(), by NumPy",
    ),
    # of NumPy before 2.0
    **_each("trapz", "use mg.trapezoid"),
    "in1d": "use mg.isin",
    "msort": "use mg.sort(x, axis=0)",
    "product": "use mg.prod",
    "cumproduct": "use mg.cumprod",
    "sometrue": "use mg.any",
    "alltrue": "use mg.all",
    "round_": "use mg.round",
    **_each("float_ float int complex_ object str infty Inf NaN NAN", "NumPy 2 has no such name"),
}

NUMPY_LINALG: dict[str, str] = {
    "eig": "eigenvalues of a general matrix are complex; eigh is for symmetric ones",
    "eigvals": "eigenvalues of a general matrix are complex; eigvalsh is for symmetric ones",
    "test": "NumPy tests itself by it",
}

NUMPY_FFT: dict[str, str] = {
    "hfft": "use mg.fft.irfft of the conjugate, times n",
    "ihfft": "use mg.fft.rfft, divided by n, with the imaginary part negative",
    "test": "NumPy tests itself by it",
}

NUMPY_RANDOM: dict[str, str] = {
    **_each(
        "BitGenerator Generator MT19937 PCG64 PCG64DXSM Philox RandomState SFC64 SeedSequence "
        "bit_generator default_rng get_bit_generator get_state mtrand set_bit_generator set_state",
        "random numbers follow from keys: random.key(seed), random.fold(key, data)",
    ),
    **_each("rand ranf random random_sample sample", "use mg.rand, or random.uniform(key, shape)"),
    **_each("randn standard_normal", "use mg.randn, or random.normal(key, shape)"),
    **_each("randint random_integers", "use mg.randint, or random.integers(key, low, high, shape)"),
    "binomial": "use random.bernoulli(key, p, (n, *shape)) and sum",
    "bytes": "use random.bits(key, shape)",
    "choice": "use x[random.integers(key, 0, len(x), shape)], or random.permutation(key, n)[:k]",
    "shuffle": "use x[random.permutation(key, len(x))]; nothing is changed in place",
    **_each("exponential standard_exponential", "use -mg.log1p(-mg.rand(*shape)) * scale"),
    "gumbel": "use -mg.log(-mg.log(mg.rand(*shape)))",
    "logistic": "use mg.logit(mg.rand(*shape))",
    "lognormal": "use mg.exp(mg.randn(*shape) * sigma + mean)",
    "multivariate_normal": "use mean + mg.randn(*shape) @ mg.linalg.cholesky(cov).T",
    **_each(
        "beta chisquare dirichlet f gamma geometric hypergeometric laplace logseries multinomial "
        "negative_binomial noncentral_chisquare noncentral_f pareto poisson power rayleigh "
        "standard_cauchy standard_gamma standard_t triangular vonmises wald weibull zipf",
        "draw by NumPy, then mg.asarray(numbers); or by the inverse of its distribution function, "
        "of mg.rand(*shape)",
    ),
    "test": "NumPy tests itself by it",
}

NUMPY_NDARRAY: dict[str, str] = {
    "argpartition": "use mg.argpartition(x, kth)",
    "partition": "use mg.partition(x, kth), which gives a new tensor",
    "compress": "use mg.compress(condition, x, axis)",
    **_each("base ctypes flags strides", _LAYOUT),
    **_each("itemsize nbytes", "of the array: x.data.nbytes"),
    **_each("conj conjugate imag real", _REAL),
    **_each("byteswap getfield setfield setflags view", _LAYOUT),
    **_each("dump dumps tofile", "nothing is pickled; " + _SAVE),
    "tobytes": "of the array: x.data.tobytes()",
    "choose": NUMPY["choose"],
    "fill": "write x[...] = value, or mg.full_like(x, value)",
    "flat": "use x.ravel()",
    "put": NUMPY["put"],
    "resize": NUMPY["resize"],
    "to_device": "minigrad.backend.to_device(array) moves arrays",
}

SECTIONS: dict[str, dict[str, str]] = {
    "numpy": NUMPY,
    "numpy.linalg": NUMPY_LINALG,
    "numpy.fft": NUMPY_FFT,
    "numpy.random": NUMPY_RANDOM,
    "numpy.ndarray": NUMPY_NDARRAY,
}

# Where names are looked for, and the libraries that people may have them from.
PLACES: dict[str, tuple[str, ...]] = {
    "minigrad": ("numpy",),
    "minigrad.linalg": ("numpy.linalg",),
    "minigrad.fft": ("numpy.fft",),
    "minigrad.random": ("numpy.random",),
    "minigrad.Tensor": ("numpy.ndarray",),
}
