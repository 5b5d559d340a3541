package container
import ("testing";"os";"strings";"sync";"time";"io")
type zz struct{n int64}
func (z *zz) Read(p []byte)(int,error){ if z.n<=0 {return 0,io.EOF}; n:=min(int64(len(p)),z.n); z.n-=n; return int(n),nil}
func TestZZ(t *testing.T){
 s:=open(t,Options{Dir:t.TempDir(),Reserve:-1})
 var wg sync.WaitGroup; b:=time.Now()
 for range 32 { wg.Go(func(){ for range 2 { if _,err:=s.Put(t.Context(),&zz{64<<20},64<<20);err!=nil{t.Error(err)} } }) }
 wg.Wait()
 st,_:=os.ReadFile("/proc/self/status")
 for _,l:=range strings.Split(string(st),"\n"){ if strings.HasPrefix(l,"VmHWM")||strings.HasPrefix(l,"VmRSS"){t.Log(l)} }
 t.Logf("4 GiB in %v, %+v",time.Since(b),s.Stats())
}
