import asyncio, time, traceback, sys
import pytest
from tests.system import System
from tests import factories
F=open("/tmp/dump.txt","w")
async def test_dbg(system: System) -> None:
    me = asyncio.current_task()
    def dump():
        for t in asyncio.all_tasks():
            print("TASK", t.get_name(), t, file=F); t.print_stack(file=F)
        F.flush()
        me.cancel()
    cms=[]
    for name in ["stripe", "api", "relay", "worker"]:
        cm = system.part(name)
        await cm.__aenter__()
        cms.append((name,cm))
    R = system.redis()
    seller, buyer = system.person("seller"), system.person("buyer")
    ticket = await factories.ticket(seller)
    order = await factories.order(buyer, ticket["id"])
    paid = await factories.payment(buyer, order["id"])
    await __import__("tests.system").system.until(lambda: __import__("tests.test_purchase").test_purchase._published(R, 10))
    for name,cm in reversed(cms):
        t=time.time()
        h = asyncio.get_running_loop().call_later(8, dump)
        await cm.__aexit__(None,None,None)
        print(name, "down", time.time()-t)
        h.cancel()
