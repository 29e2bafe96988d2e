"""One running product for the tests of a module, before an imitation of OpenAI."""

from collections.abc import Iterator

import pytest

from tests.fakes.openai_server import Answer, FakeOpenAI
from tests.system.product import Product, alive, eventually


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(Answer(tokens=40, delay_seconds=0.01)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """What a module's tests share; it must still live, and end as asked, after the last of them."""
    with Product(tmp_path_factory.mktemp("product"), upstream.url) as product:
        yield product
        assert product.process.poll() is None, product.log
        pids = product.processes()
        product.process.terminate()
        assert product.process.wait(15) == 0
        eventually(lambda: not any(map(alive, pids)))


@pytest.fixture
def visitor(product: Product) -> str:
    return product.visitor()
