"""FastAPI on uvicorn with a batcher written by hand: a queue, a task, an executor."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import served_model
import uvicorn
from fastapi import FastAPI, Request, Response

NET = served_model.KIND == "net"
decoders = ThreadPoolExecutor(max(served_model.DECODERS, 1))
runners = ThreadPoolExecutor(served_model.WORKERS)


async def collect(queue, free, predict):
    loop = asyncio.get_running_loop()
    while True:
        await free.acquire()
        jobs = [await queue.get()]
        end = loop.time() + served_model.WAIT_MS / 1000
        while len(jobs) < served_model.BATCH:
            if queue.empty() and loop.time() >= end:
                break
            try:
                jobs.append(await asyncio.wait_for(queue.get(), max(end - loop.time(), 0.0001)))
            except TimeoutError:
                break
        task = loop.create_task(run(jobs, free, predict))
        running.add(task)
        task.add_done_callback(running.discard)


running = set()


async def run(jobs, free, predict):
    items = [item for item, _ in jobs]
    try:
        if served_model.INLINE:
            answers = predict(items)
        else:
            answers = await asyncio.get_running_loop().run_in_executor(runners, predict, items)
        for (_, future), answer in zip(jobs, answers):
            if not future.done():
                future.set_result(answer)
    finally:
        free.release()


@asynccontextmanager
async def lifespan(app):
    app.state.queue, app.state.inside = asyncio.Queue(), 0
    task = asyncio.create_task(
        collect(app.state.queue, asyncio.Semaphore(served_model.WORKERS), served_model.load())
    )
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/")
async def answer(request: Request):
    loop = asyncio.get_running_loop()
    item = await request.body()
    if served_model.LIMIT and app.state.inside >= served_model.LIMIT:
        return Response(status_code=503)
    app.state.inside += 1
    try:
        if NET:
            item = await loop.run_in_executor(decoders, served_model.decode, item)
        else:
            item = served_model.decode(item)
        future = loop.create_future()
        app.state.queue.put_nowait((item, future))
        return Response(await future, media_type="application/json")
    finally:
        app.state.inside -= 1


uvicorn.run(app, host="127.0.0.1", port=served_model.PORT, log_level="warning", access_log=False)
