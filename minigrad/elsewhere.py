"""Names that people look for here and do not find: what to use instead, or why there is nothing.

A dictionary for each library that they come from. It is read when an attribute is missing, and
never before; `tests/house/test_elsewhere.py` holds it against that library: every public name is
here, or in the dictionary, and none is in both.
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
    # moving
    "resize": "use mg.reshape; mg.tile or mg.pad for more elements",
    "row_stack": "NumPy has given this name up; use mg.vstack",
    "trim_zeros": "the shape would hang on values; slice with x[start:stop]",
    # elements
    "bitwise_count": "count on the host: np.bitwise_count(x.numpy())",
    "fix": "use mg.trunc",
    "modf": "use whole = mg.trunc(x); x - whole",
    **_each("spacing", "it has no useful derivative; of x.detach().numpy() by NumPy"),
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
    **_each("byteswap getfield setfield setflags", _LAYOUT),
    "view": "for another shape (PyTorch's view) x.reshape(shape); else x.data.view(dtype)",
    **_each("dump dumps tofile", "nothing is pickled; " + _SAVE),
    "tobytes": "of the array: x.data.tobytes()",
    "choose": NUMPY["choose"],
    "fill": "write x[...] = value, or mg.full_like(x, value)",
    "flat": "use x.ravel()",
    "put": _WRITES + "mg.put(x, ids, values)",
    "resize": NUMPY["resize"],
    "to_device": "write x.to('cuda'), x.to('cpu')",
}

# ------------------------------------------------------------------------------------- PyTorch

_IN_PLACE = "nothing is changed in place; write x = "
_NOT_HERE = "it is not here; write it with the ops there are, or as a minigrad.primitive"
_PART_OF_TORCH = "a part of PyTorch's machinery"
_KEYS = "keys draw numbers, and mg.random.stream(seed) says where they begin"
_LOW_BIT = "there are no numbers of 8 bits and less to compute with"
_DTYPES = "write x.astype('float32'), with the name of the dtype"

TORCH_FUNCTIONAL: dict[str, str] = {
    **_each(
        "Callable DType Optional assert_int_or_pair boolean_dispatch handle_torch_function "
        "has_torch_function has_torch_function_unary has_torch_function_variadic",
        _PART_OF_TORCH,
    ),
    **_each("ScalingType SwizzleType grouped_mm scaled_grouped_mm scaled_mm", _LOW_BIT),
    **{
        f"{name}_": f"{_IN_PLACE}F.{name}(x)"
        for name in (
            "celu",
            "elu",
            "hardtanh",
            "leaky_relu",
            "relu",
            "rrelu",
            "selu",
            "threshold",
        )
    },
    **{
        f"{name}_with_indices": f"use F.{name} with return_indices=True"
        for name in (
            "adaptive_max_pool1d",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
            "max_pool1d",
            "max_pool2d",
            "max_pool3d",
        )
    },
    **_each(
        "affine_grid grid_sample",
        "no images are sampled at places that are computed; F.interpolate resizes",
    ),
    **_each(
        "native_channel_shuffle",
        "use x.reshape(N, groups, C // groups, H, W).swapaxes(1, 2).reshape(x.shape)",
    ),
    "conv_tbc": "use F.conv1d with moveaxis: (T, B, C) is (B, C, T) there",
    "feature_alpha_dropout": "use F.alpha_dropout, or F.dropout1d and others for whole channels",
    **_each(
        "fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d "
        "fractional_max_pool3d_with_indices",
        "no pooling draws its windows; F.adaptive_max_pool2d gives any size",
    ),
    "linear_cross_entropy": "use F.cross_entropy(F.linear(x, weight), target)",
    "multi_head_attention_forward": "use nn.MultiheadAttention, or mg.attention(q, k, v, heads=n)",
    "upsample": "use F.interpolate",
    "upsample_bilinear": "use F.interpolate with mode='bilinear', align_corners=True",
    "upsample_nearest": "use F.interpolate with mode='nearest'",
}

TORCH: dict[str, str] = {
    # under another name
    **{
        name: f"use mg.{ours}"
        for name, ours in (
            ("as_tensor", "asarray"),
            ("broadcast_tensors", "broadcast_arrays"),
            ("cat", "concatenate"),
            ("clamp", "clip"),
            ("div", "divide"),
            ("eq", "equal"),
            ("ge", "greater_equal"),
            ("ger", "outer"),
            ("gt", "greater"),
            ("le", "less_equal"),
            ("lt", "less"),
            ("movedim", "moveaxis"),
            ("mul", "multiply"),
            ("ne", "not_equal"),
            ("neg", "negative"),
            ("sgn", "sign"),
            ("sub", "subtract"),
            ("swapdims", "swapaxes"),
            ("take_along_dim", "take_along_axis"),
            ("tensor_split", "array_split"),
            ("unbind", "unstack"),
            ("unsqueeze", "expand_dims"),
            ("range", "arange"),
        )
    },
    **{
        name: f"use mg.linalg.{ours}"
        for name, ours in (
            ("chain_matmul", "multi_dot"),
            ("cholesky", "cholesky"),
            ("cond", "cond"),
            ("det", "det"),
            ("inverse", "inv"),
            ("lstsq", "lstsq"),
            ("matrix_power", "matrix_power"),
            ("matrix_rank", "matrix_rank"),
            ("pinverse", "pinv"),
            ("qr", "qr"),
            ("slogdet", "slogdet"),
            ("svd", "svd"),
            ("triangular_solve", "solve_triangular"),
        )
    },
    "logdet": "use mg.linalg.logdet",
    **_each("bmm mm mv", "use mg.matmul, or @"),
    **_each("clamp_max clamp_min", "use mg.minimum, mg.maximum, or mg.clip"),
    "bucketize": "use mg.searchsorted(boundaries, x), or mg.digitize",
    **_each("detach alias_copy detach_copy", "write x.detach()"),
    "is_floating_point": "write x.dtype.kind == 'f'",
    "is_grad_enabled": "with mg.no_grad() and mg.enable_grad() it is set",
    "is_tensor": "write isinstance(x, mg.Tensor)",
    "manual_seed": "with mg.random.stream(seed): all that draws goes by it; see mg.random",
    "narrow": "write x[start : start + length]",
    "numel": "write x.size",
    **_each("bernoulli multinomial normal poisson randperm", "see mg.random, which draws by keys"),
    **_each("rand_like randn_like", "use mg.randn(*x.shape, dtype=x.dtype)"),
    "randint_like": "use mg.randint(low, high, x.shape)",
    "repeat_interleave": "use mg.repeat, which is NumPy's",
    "rsub": "write y - x",
    "scalar_tensor": "use mg.tensor(number)",
    "set_grad_enabled": "use mg.no_grad() or mg.enable_grad()",
    **_each("split_with_sizes", "use mg.split(x, places), the places being the sums of the sizes"),
    "std_mean": "use mg.std and mg.mean; correction=1 is PyTorch's default",
    "var_mean": "use mg.var and mg.mean; correction=1 is PyTorch's default",
    "t": "write x.T",
    "to_dlpack": "write x.__dlpack__(), or hand x to from_dlpack",
    "Size": "shapes are tuples",
    "Generator": "keys draw numbers: mg.random.key(seed)",
    "autograd": "use mg.gradients, mg.grad, mg.vjp and mg.custom_vjp",
    "func": "use mg.grad, mg.vmap, mg.jvp, mg.vjp, mg.jacrev, mg.jacfwd and mg.hessian",
    **_each("compile compiler", "use mg.jit"),
    "distributions": "they are not here; mg.random draws",
    "cuda": "x.to('cuda') moves a tensor; see mg.device, mg.memory and mg.backend",
    "get_default_dtype": "floats are float32 unless it is said",
    **_each("set_default_dtype set_default_tensor_type", "state the dtype: mg.zeros(3, 'float64')"),
    "amp": "use mg.autocast('bfloat16'), or with 'float16' and optim.LossScaler",
    **_each("GradScaler", "use optim.LossScaler"),
    "inference_mode": "use mg.no_grad()",
    **_each("igamma igammac", _NOT_HERE),
    **_each("lu lu_solve lu_unpack geqrf ormqr lobpcg", _NOT_HERE),
    "matrix_exp": "use mg.linalg.matrix_exp",
    "orgqr": "use mg.linalg.householder_product",
    "cholesky_inverse": "use mg.linalg.cholesky_inverse",
    "cholesky_solve": "use mg.linalg.cholesky_solve",
    "mvlgamma": "use mg.multigammaln(x, d)",
    **_each("bfloat16 uint1 int1 chalf cfloat complex32 quint8 qint8 qint32", _DTYPES),
    "embedding_bag": "use nn.functional.embedding_bag",
    "instance_norm": "use nn.functional.instance_norm",
    **_each("alpha_dropout feature_dropout rrelu", "see nn.functional"),
    "histc": "use mg.bincount of mg.digitize",
    **_each("stft istft", _NOT_HERE),
    **_each("complex polar view_as_complex view_as_real is_complex is_conj conj_physical", _REAL),
    **_each(
        "sparse_coo_tensor sparse_csr_tensor sparse_compressed_tensor",
        "tensors are dense; gradients may be minigrad.sparse.SparseRows",
    ),
    **_each("quantize_per_tensor quantize_per_channel fake_quantize_per_tensor_affine", _LOW_BIT),
    **_each(
        "bartlett_window blackman_window hamming_window hann_window kaiser_window",
        "a window is a constant: mg.asarray(np.hanning(n))",
    ),
    **_each("lstm gru rnn_tanh rnn_relu", "use nn.LSTM, nn.GRU, nn.RNN"),
    **_each(
        "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", "use nn.LSTM and others, step by step"
    ),
    **_each("seed initial_seed get_rng_state set_rng_state default_generator", _KEYS),
    **_each("dropout_ relu_ threshold_ rrelu_ celu_ selu_", _IN_PLACE + "f(x)"),
    "segment_reduce": "use mg.scatter_reduce",
    "norm_except_dim": "use mg.linalg.vector_norm",
    **_each("frobenius_norm nuclear_norm", "use mg.linalg.norm with ord='fro' or 'nuc'"),
    "constant_pad_nd": "use nn.functional.pad",
    "index_copy": "use mg.index_set",
    "squeeze_copy": "use mg.squeeze",
    "is_nonzero": "write bool(x)",
    "is_same_size": "write x.shape == y.shape",
    "is_signed": "write x.dtype.kind in 'fi'",
}

TORCH_LINALG: dict[str, str] = {
    **_each("cholesky_ex inv_ex solve_ex", "errors are raised; use the function without _ex"),
    **_each(
        "ldl_factor ldl_factor_ex ldl_solve lu lu_factor lu_factor_ex lu_solve",
        _NOT_HERE,
    ),
    "common_notes": _PART_OF_TORCH,
}

_CHANGED = (
    "abs ceil clip cos erf exp expm1 floor index_add index_fill index_put index_reduce lerp log "
    "log1p masked_fill negative reciprocal relu round rsqrt scatter scatter_add scatter_reduce "
    "sigmoid sign sin sqrt square squeeze tanh transpose tril triu trunc add addcdiv addcmul "
    "addmm masked_scatter"
)
_CHANGED_TOO = "clamp div index_copy mul neg sub unsqueeze"
_METHODS = (
    "absolute add allclose amax amin arccos arccosh arcsin arcsinh arctan arctan2 arctanh "
    "argwhere bitwise_and bitwise_not bitwise_or bitwise_xor copysign deg2rad diag diagflat "
    "divide erfc exp2 floor_divide fmax fmin fmod greater greater_equal hypot index_add isclose "
    "kron lerp less less_equal logaddexp logical_and logical_not logical_or logical_xor logit "
    "matmul multiply nan_to_num nanmean negative not_equal positive rad2deg remainder rot90 sinc "
    "subtract true_divide trunc vdot where xlogy bincount acos acosh asin asinh atan atan2 atanh "
    "bitwise_left_shift bitwise_right_shift addmm addmv addbmm baddbmm addcdiv addcmul aminmax "
    "masked_scatter unflatten unique_consecutive frac renorm dist digamma erfinv lgamma"
)
_RENAMED = (
    "div eq ge ger gt le lt movedim mul ne neg sgn sub swapdims take_along_dim tensor_split "
    "unbind unsqueeze inverse det slogdet logdet qr svd pinverse matrix_power cholesky bmm mm mv "
    "clamp clamp_max clamp_min narrow numel repeat_interleave is_floating_point multinomial "
    "bernoulli index_copy split_with_sizes t"
)

TORCH_TENSOR: dict[str, str] = {
    **{f"{name}_": f"{_IN_PLACE}mg.{name}(x, ...)" for name in _CHANGED.split()},
    **{f"{name}_": f"nothing is changed in place; {TORCH[name]}" for name in _CHANGED_TOO.split()},
    "pow_": f"{_IN_PLACE}x ** p",
    **{name: f"use mg.{name}(x, ...)" for name in _METHODS.split()},
    **{name: TORCH[name] for name in _RENAMED.split()},
    **_each("fill_ zero_", "write x[...] = value"),
    **_each("normal_ uniform_ random_ bernoulli_ exponential_", "see nn.init, and mg.random"),
    "set_": "write x.data = array",
    "detach_": "write x = x.detach()",
    **_each("float double half bool byte char int long short bfloat16 type", _DTYPES),
    "type_as": "write x.to(other)",
    **_each("contiguous is_contiguous stride data_ptr storage storage_offset", _LAYOUT),
    **_each("dim ndimension", "write x.ndim"),
    "nelement": "write x.size",
    "element_size": "write x.dtype.itemsize",
    **_each("expand", "use x.broadcast_to(shape)"),
    "expand_as": "use x.broadcast_to(other.shape)",
    **_each("reshape_as view_as", "use x.reshape(other.shape)"),
    "equal": "use mg.array_equal(x, y), or x == y element by element",
    "is_nonzero": "write bool(x)",
    "grad_fn": "use mg.explain_grad, or repr(x), which names the op",
    **_each("new_empty new_full new_ones new_zeros new_tensor", "use mg.zeros(shape, x.dtype)"),
    "pin_memory": "use mg.data.DataLoader(..., pin_memory=True)",
    **_each(
        "share_memory_ is_shared", "processes share nothing; a DataLoader copies what it needs"
    ),
    "values": "there is one array; topk, kthvalue, cummax give pairs with .values; max only values",
    "indices": "there is one array; argmax and argsort give indices, topk both",
    "sum_to_size": "use x.sum(axis, keepdims=True)",
    "register_post_accumulate_grad_hook": "use x.register_hook",
    "retains_grad": "call x.retain_grad() where it is wanted",
    "apply_": "use mg.vmap(function)(x)",
    "prelu": "use mg.prelu(x, weight)",
    "hardshrink": "use mg.hardshrink(x)",
    "cross": "use mg.linalg.cross",
    "select": "write x[i]",
    **_each("is_cuda is_cpu", "write x.device.type == 'cuda'"),
    "get_device": "write x.device.index",
    "is_sparse": "tensors are dense; gradients may be minigrad.sparse.SparseRows",
}

# ----------------------------------------------------------------------------- PyTorch: layers

_DEVICES = "a model is on one device; nn.Grouped trains several models as one"
_INSIDE = "PyTorch keeps its classes there; ours are in minigrad.nn"
_QUANTISED = "nothing is quantised"
_UNINITIALISED = "nn.LazyLinear and its kind keep that to themselves; model(x) makes parameters"

TORCH_NN: dict[str, str] = {
    "Container": "use nn.Sequential, nn.ModuleList or nn.ModuleDict",
    "CrossMapLRN2d": "use nn.LocalResponseNorm",
    "DataParallel": _DEVICES,
    **_each(
        "LinearCrossEntropyLoss LinearCrossEntropyOptions",
        "use nn.Linear and nn.CrossEntropyLoss",
    ),
    "NLLLoss2d": "use nn.NLLLoss, which takes (N, C, H, W)",
    "RNNBase": "use nn.RNN, nn.GRU or nn.LSTM",
    "RNNCellBase": "use nn.RNNCell, nn.GRUCell or nn.LSTMCell",
    "SyncBatchNorm": "use nn.BatchNorm2d; " + _DEVICES,
    "UninitializedBuffer": _UNINITIALISED,
    "UninitializedParameter": _UNINITIALISED,
    "common_types": "PyTorch's annotations",
    "factory_kwargs": "layers take dtype=, and are made where mg.device('cuda:0') is entered",
    "grad": "mg.gradients or mg.vjp of the convolution give its gradients",
    "modules": _INSIDE,
    "parameter": "use nn.Parameter and nn.Buffer",
    "parallel": _DEVICES,
    **_each("intrinsic qat quantizable quantized", _QUANTISED),
}

TORCH_NN_UTILS: dict[str, str] = {
    **_each("clip_grad clip_grad_norm", "use nn.utils.clip_grad_norm_"),
    "clip_grads_with_norm_": "use nn.utils.clip_grad_norm_, or p.grad.data *= factor",
    **_each(
        "convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format memory_format",
        "arrays have NumPy's layout; convolutions take (N, C, ...)",
    ),
    "convert_parameters": "use nn.utils.parameters_to_vector and vector_to_parameters",
    **_each(
        "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights fusion",
        "mg.jit(model.eval()) puts passes together",
    ),
    "get_total_norm": "nn.utils.clip_grad_norm_(parameters, math.inf) gives the norm",
    "init": "use nn.init",
    "skip_init": "make the layer; its first values are drawn once",
    "stateless": "load_state_dict on a copy.deepcopy(model), or p.data = array",
    "spectral_norm": "use nn.utils.parametrizations.spectral_norm",
    "weight_norm": "use nn.utils.parametrizations.weight_norm",
    **_each(
        "remove_spectral_norm remove_weight_norm",
        "use nn.utils.parametrize.remove_parametrizations(module, 'weight')",
    ),
}

# Methods of Tensor, and functions here, whose name PyTorch has too with another meaning. They are
# NumPy's, and mean what they mean there.
UNLIKE_TORCH: dict[str, str] = {
    "count_nonzero": "takes several axes as a tuple: x.count_nonzero((0, 1))",
    "equal": "compares element by element; array_equal is PyTorch's",
    "gradient": "gives an array and no list for one axis",
    "histogram": "gives counts and edges for 10 bins by default",
    "max": "gives values alone: argmax gives indices, topk(1) both",
    "median": "of an even number is the mean of the two in the middle; values alone",
    "nanmedian": "of an even number is the mean of the two in the middle",
    "meshgrid": "has NumPy's order of axes, 'xy'; PyTorch's is indexing='ij'",
    "min": "gives values alone: argmin gives indices, topk(1, largest=False) both",
    "nonzero": "gives an array of indices for each axis; argwhere gives (n, ndim)",
    "norm": "of a matrix with `ord` is the matrix norm; linalg.vector_norm is PyTorch's",
    "repeat": "repeats elements, as repeat_interleave; tile is PyTorch's repeat",
    "sort": "gives values alone: argsort gives indices",
    "split": "takes the number of parts, or places; x.split(x.shape[0] // n) has parts of n",
    "std": "divides by n; PyTorch's by n - 1, which is correction=1",
    "unique": "takes return_index, return_inverse, return_counts by these names",
    "var": "divides by n; PyTorch's by n - 1, which is correction=1",
}

SECTIONS: dict[str, dict[str, str]] = {
    "numpy": NUMPY,
    "numpy.linalg": NUMPY_LINALG,
    "numpy.fft": NUMPY_FFT,
    "numpy.random": NUMPY_RANDOM,
    "numpy.ndarray": NUMPY_NDARRAY,
    "torch": TORCH,
    "torch.Tensor": TORCH_TENSOR,
    "torch.linalg": TORCH_LINALG,
    "torch.nn.functional": TORCH_FUNCTIONAL,
    "torch.nn": TORCH_NN,
    "torch.nn.utils": TORCH_NN_UTILS,
}

# Where names are looked for, and the libraries that people may have them from.
PLACES: dict[str, tuple[str, ...]] = {
    "minigrad": ("numpy", "torch"),
    "minigrad.fft": ("numpy.fft",),
    "minigrad.random": ("numpy.random",),
    "minigrad.linalg": ("numpy.linalg", "torch.linalg"),
    "minigrad.Tensor": ("numpy.ndarray", "torch.Tensor"),
    "minigrad.nn.functional": ("torch.nn.functional",),
    "minigrad.nn": ("torch.nn",),
    "minigrad.nn.utils": ("torch.nn.utils",),
}
