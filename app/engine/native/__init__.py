"""The native kernels: C++ source, its build, and the functions that call it."""
