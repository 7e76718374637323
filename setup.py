"""The modules of the wheel, which ships `conf/` as `microbench/conf`; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["microbench*"]), "microbench.conf"],
    py_modules=["pytest_microbench"],
    package_dir={"microbench.conf": "conf"},
    package_data={
        "microbench": [
            "py.typed",
            "records/*.json",
            "reference/*",
            "engines/libtorch/*.cpp",
            "engines/libtorch/*.h",
            "tables/page/*.html",
            "tables/page/*.css",
            "tables/page/scripts/*.js",
            "tables/page/vendor/*",
        ],
        "microbench.conf": ["**/*.yaml"],
    },
)
